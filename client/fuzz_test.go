package client

import (
	"context"
	"testing"
)

// FuzzDecode holds what is accepted as an answer to what was asked, and the rest to one error.
func FuzzDecode(f *testing.F) {
	for _, x := range exchanges() {
		f.Add(x.answer)
		f.Add(x.answer[:len(x.answer)/2])
	}
	for _, answer := range []string{
		``, `null`, `{}`, `[]`, `{"versions":[null]}`, `{"organization_id":"1410000000000","secrets":[null]}`,
		`{"id":"3053595942757","organization_id":"1410000000000","name":"a","versions":[{"id":"1","version":1e0}]}`,
		`{"ID":"3053595942757","Organization_ID":"1410000000000","NAME":"a","expired_at":"0001-01-01T00:00:00Z"}`,
		`{"id":"4053595942757","version":1,"value":"YQ","created_at":"9999-12-31T23:59:59-23:59"}`,
		`{"id":"3053595942757","organization_id":"1410000000000","name":"a","expired_at":"soon","versions":[{"id":"1","version":"1"},7]}`,
		`{"id":"3053595942757","organization_id":"1410000000000","name":"a","versions":[{"id":"1","version":1,"value":"YQ=="}],"Versions":[{"id":"2","version":2}]}`,
	} {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		c := newClient(t, always(200, answer))
		ctx := context.Background()
		accepted := func(err error) bool {
			if err != nil {
				requireKind(t, ErrBadAnswer, err)
			}
			return err == nil
		}
		ofSecret := func(v Version, secret string) {
			if !ValidID(v.ID) || v.Number < 1 || v.OrganizationID != "" && v.OrganizationID != org || v.SecretID != "" && v.SecretID != secret {
				t.Errorf("accepted a version that is not of secret %s: %+v", secret, v)
			}
		}
		ofOrganization := func(s Secret) {
			if !ValidID(s.ID) || s.Name == "" || s.OrganizationID != org {
				t.Errorf("accepted a secret that is not the organization's: %+v", s)
			}
			for _, v := range s.Versions {
				ofSecret(v, s.ID)
			}
		}

		if page, err := c.ListSecrets(ctx, ListOptions{}); accepted(err) {
			for _, s := range page.Secrets {
				ofOrganization(s)
			}
		}
		if s, err := c.GetSecret(ctx, secretID, ReadOptions{}); accepted(err) {
			ofOrganization(*s)
			if s.ID != secretID {
				t.Errorf("accepted secret %s", s.ID)
			}
		}
		if s, err := c.CreateSecret(ctx, NewSecret{Name: "db_password", Value: []byte(value)}); accepted(err) {
			ofOrganization(*s)
			if s.Name != "db_password" {
				t.Errorf("accepted secret %q", s.Name)
			}
		}
		if page, err := c.ListVersions(ctx, secretID, ListOptions{}); accepted(err) {
			for _, v := range page.Versions {
				ofSecret(v, secretID)
			}
		}
		if v, err := c.GetVersion(ctx, secretID, versionID, ReadOptions{}); accepted(err) {
			ofSecret(*v, secretID)
			if v.ID != versionID {
				t.Errorf("accepted version %s", v.ID)
			}
		}
		accepted(c.DeleteSecret(ctx, secretID))
	})
}
