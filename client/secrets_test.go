package client

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// wireForm is a call and the one request that ABEJA must see for it.
type wireForm struct {
	name   string
	call   func(context.Context, *Client) (any, error)
	answer string
	method string
	uri    string // below the organization
	body   string // "" is none
}

func (w wireForm) check(t *testing.T) {
	s := always(200, w.answer)
	_, err := w.call(t.Context(), newClient(t, s))
	require.NoError(t, err)
	require.Len(t, s.requests, 1)
	r := s.requests[0]
	require.Equal(t, w.method, r.Method)
	require.Equal(t, "/secret-manager/organizations/1410000000000"+w.uri, r.URL.RequestURI())
	require.Equal(t, "application/json", r.Header.Get("Accept"))
	if w.body == "" {
		require.Empty(t, r.body)
		require.Empty(t, r.Header.Get("Content-Type"))
	} else {
		require.JSONEq(t, w.body, r.body)
		require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	}
}

func TestRequestsForSecrets(t *testing.T) {
	t.Parallel()
	expiry := time.Date(2030, 1, 2, 3, 4, 5, 0, time.FixedZone("", 9*60*60))
	list := func(o ListOptions) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.ListSecrets(ctx, o) }
	}
	create := func(s NewSecret) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.CreateSecret(ctx, s) }
	}
	update := func(u SecretUpdate) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.UpdateSecret(ctx, secretID, u) }
	}
	one := "/secrets/" + secretID
	for _, w := range []wireForm{
		{"list", list(ListOptions{}), secretPageJSON, "GET", "/secrets?limit=100&offset=0", ""},
		{"list a page", list(ListOptions{Offset: 95, Limit: 1}), secretPageJSON, "GET", "/secrets?limit=1&offset=95", ""},
		{
			"list with values", list(ListOptions{ReadOptions: ReadOptions{Values: true}}), secretPageJSON,
			"GET", "/secrets?limit=100&offset=0&return_secret_value=True", "",
		},
		{"get", func(ctx context.Context, c *Client) (any, error) {
			return c.GetSecret(ctx, secretID, ReadOptions{})
		}, secretJSON, "GET", one, ""},
		{"get with value", func(ctx context.Context, c *Client) (any, error) {
			return c.GetSecret(ctx, secretID, ReadOptions{Values: true})
		}, secretJSON, "GET", one + "?return_secret_value=True", ""},
		{
			"create with all", create(NewSecret{
				Name: "db_password", Value: []byte(value), SecretUpdate: SecretUpdate{
					Description: new("d"), ExpiredAt: &expiry,
					IntegrationServiceType: new("abeja-platform-labs"), IntegrationServiceIDs: &[]string{"1", "2"},
				},
			}), secretJSON, "POST", "/secrets",
			`{"name":"db_password","value":"` + valueBase64 + `","description":"d","expired_at":"2030-01-02T03:04:05+09:00",
				"integration_service_type":"abeja-platform-labs","integration_service_ids":["1","2"]}`,
		},
		{
			"create with what would clear a field", create(NewSecret{
				Name: "db_password", Value: []byte("v"),
				SecretUpdate: SecretUpdate{Description: new(""), ExpiredAt: &time.Time{}, IntegrationServiceIDs: &[]string{}},
			}), secretJSON, "POST", "/secrets", `{"name":"db_password","value":"dg=="}`,
		},
		{
			"create with the least", create(NewSecret{Name: "db_password", Value: []byte("pässword\x00\xff")}), secretJSON,
			"POST", "/secrets", `{"name":"db_password","value":"cMOkc3N3b3JkAP8="}`,
		},
		{
			"update all", update(SecretUpdate{
				Description: new("d"), ExpiredAt: &expiry,
				IntegrationServiceType: new("abeja-platform-labs"), IntegrationServiceIDs: &[]string{"1"},
			}), secretJSON, "PATCH", one,
			`{"description":"d","expired_at":"2030-01-02T03:04:05+09:00","integration_service_type":"abeja-platform-labs","integration_service_ids":["1"]}`,
		},
		{"update one field", update(SecretUpdate{Description: new("d")}), secretJSON, "PATCH", one, `{"description":"d"}`},
		{"clear both", update(SecretUpdate{Description: new(""), ExpiredAt: &time.Time{}}), secretJSON, "PATCH", one, `{"description":null,"expired_at":null}`},
		{"no service ids", update(SecretUpdate{IntegrationServiceIDs: new([]string)}), secretJSON, "PATCH", one, `{"integration_service_ids":[]}`},
		{"delete", func(ctx context.Context, c *Client) (any, error) {
			return nil, c.DeleteSecret(ctx, secretID)
		}, deletedJSON, "DELETE", one, ""},
	} {
		t.Run(w.name, w.check)
	}
}

func TestASecretIsDecoded(t *testing.T) {
	t.Parallel()
	midnight := Time{time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)}
	for name, example := range map[string]struct {
		answer string
		want   Secret
	}{
		"all fields": {
			`{"id":"3053595942757","organization_id":"1410000000000","user_id":"1410000000001","name":"db_password",
			"description":"for the 本番 database","properties":{"a":[1]},"provider":"aws-secret-manager","rotation":true,
			"expired_at":"2030-01-01T00:00:00+09:00","integration_service_type":"abeja-platform-labs","integration_service_ids":["1","2"],
			"created_at":"2024-05-01T00:00:00Z","updated_at":"2024-05-01T00:00:00.000001Z","not_documented":1,
			"versions":[{"id":"4053595942757","organization_id":"1410000000000","secret_id":"3053595942757","version":2,
				"status":"inactive","provider":"aws-secret-manager","created_at":"2024-05-01T00:00:00Z",
				"updated_at":"2024-05-01T00:00:00Z","value":"cMOkc3N3b3JkAP8="}]}`,
			Secret{
				ID: secretID, OrganizationID: org, UserID: "1410000000001", Name: "db_password",
				Description: "for the 本番 database", Provider: "aws-secret-manager", Rotation: true,
				ExpiredAt:              Time{time.Date(2029, 12, 31, 15, 0, 0, 0, time.UTC)},
				IntegrationServiceType: "abeja-platform-labs", IntegrationServiceIDs: []string{"1", "2"},
				CreatedAt: midnight, UpdatedAt: Time{midnight.Add(time.Microsecond)},
				Versions: []Version{{
					ID: versionID, OrganizationID: org, SecretID: secretID, Number: 2, Status: Inactive,
					Provider: "aws-secret-manager", CreatedAt: midnight, UpdatedAt: midnight, Value: []byte("pässword\x00\xff"),
				}},
			},
		},
		"null where there is none": {
			`{"id":"3053595942757","organization_id":"1410000000000","name":"a","description":null,"properties":null,"expired_at":null,
			"integration_service_type":null,"integration_service_ids":null,"versions":[{"id":"4","version":1,"value":null}]}`,
			Secret{ID: secretID, OrganizationID: org, Name: "a", Versions: []Version{{ID: "4", Number: 1}}},
		},
		"empty strings where there is none": {
			`{"id":"3053595942757","organization_id":"1410000000000","name":"a","description":"","expired_at":"","versions":[]}`,
			Secret{ID: secretID, OrganizationID: org, Name: "a", Versions: []Version{}},
		},
		"only what must be there": {
			`{"id":"3053595942757","organization_id":"1410000000000","name":"a"}`,
			Secret{ID: secretID, OrganizationID: org, Name: "a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newClient(t, always(200, example.answer)).GetSecret(t.Context(), secretID, ReadOptions{})
			require.NoError(t, err)
			require.Equal(t, &example.want, got)

			page := `{"organization_id":"1410000000000","secrets":[` + example.answer + `],"offset":95,"limit":100,"has_next":true}`
			list, err := newClient(t, always(200, page)).ListSecrets(t.Context(), ListOptions{Offset: 95})
			require.NoError(t, err)
			require.Equal(t, &SecretPage{OrganizationID: org, Secrets: []Secret{example.want}, Offset: 95, Limit: 100, HasNext: true}, list)
		})
	}
}

// oddSecrets are changes of secretJSON after which the record cannot be used.
var oddSecrets = map[string][2]string{
	"no id":                       {`"id":"3053595942757","org`, `"id":"","org`},
	"id that is a number":         {`"id":"3053595942757","org`, `"id":3053595942757,"org`},
	"no organization":             {`"organization_id":"1410000000000","user_id"`, `"user_id"`},
	"no name":                     {`"name":"db_password"`, `"name":null`},
	"name that is a number":       {`"name":"db_password"`, `"name":7`},
	"description that is a list":  {`"description":null`, `"description":[]`},
	"expiry that is none":         {`"expired_at":null`, `"expired_at":"soon"`},
	"expiry without offset":       {`"expired_at":null`, `"expired_at":"2030-01-01T00:00:00"`},
	"expiry that is a number":     {`"expired_at":null`, `"expired_at":7`},
	"expiry that is another type": {`"expired_at":null`, `"expired_at":{}`},
}

func TestAnAnswerThatIsNotTheSecretAskedForIsRefused(t *testing.T) {
	t.Parallel()
	foreign := map[string][2]string{
		"another id":                      {`3053595942757`, `3053595942758`},
		"another organization":            {`"organization_id":"1410000000000","user_id"`, `"organization_id":"1410000000009","user_id"`},
		"version of another secret":       {`"secret_id":"3053595942757"`, `"secret_id":"3053595942758"`},
		"version of another organization": {`"organization_id":"1410000000000","secret_id"`, `"organization_id":"1410000000009","secret_id"`},
		"odd version of another secret":   {`"secret_id":"3053595942757",`, `"secret_id":"3053595942758","provider":7,`},
		"odd and of another organization": {`"id":"3053595942757","organization_id":"1410000000000","user_id"`, `"id":7,"organization_id":"1410000000009","user_id"`},
	}
	for _, changes := range []map[string][2]string{foreign, oddSecrets} {
		for name, change := range changes {
			require.Contains(t, secretJSON, change[0], name)
			answer := strings.ReplaceAll(secretJSON, change[0], change[1])
			c := newClient(t, always(200, answer))
			got, err := c.GetSecret(t.Context(), secretID, ReadOptions{})
			requireKind(t, ErrBadAnswer, err, name)
			require.Nil(t, got, name)
			updated, err := c.UpdateSecret(t.Context(), secretID, SecretUpdate{Description: new("d")})
			requireKind(t, ErrBadAnswer, err, name)
			require.Nil(t, updated, name)
			if name == "another id" { // what is not known before ABEJA says it
				continue
			}
			made, err := c.CreateSecret(t.Context(), NewSecret{Name: "db_password", Value: []byte(value)})
			requireKind(t, ErrBadAnswer, err, name)
			require.True(t, asError(t, err).OutcomeUnknown(), name)
			require.Nil(t, made, name)
			if _, isForeign := foreign[name]; isForeign {
				page, err := newClient(t, always(200, pageWith(answer))).ListSecrets(t.Context(), ListOptions{})
				requireKind(t, ErrBadAnswer, err, name)
				require.Nil(t, page, name)
			}
		}
	}

	_, err := newClient(t, always(200, secretJSON)).CreateSecret(t.Context(), NewSecret{Name: "other", Value: []byte(value)})
	requireKind(t, ErrBadAnswer, err)
}

// pageWith is a page of secretJSON and the record.
func pageWith(record string) string {
	return strings.Replace(secretPageJSON, secretJSON, record+","+secretJSON, 1)
}

func TestARecordOfAListThatCannotBeUsedCostsItselfAlone(t *testing.T) {
	t.Parallel()
	good, err := newClient(t, always(200, secretJSON)).GetSecret(t.Context(), secretID, ReadOptions{})
	require.NoError(t, err)
	for name, change := range oddSecrets {
		answer := strings.ReplaceAll(secretJSON, change[0], change[1])
		page, err := newClient(t, always(200, pageWith(answer))).ListSecrets(t.Context(), ListOptions{})
		require.NoError(t, err, name)
		require.Equal(t, []Secret{*good}, page.Secrets, name)
		require.Len(t, page.Odd, 1, name)
		odd := page.Odd[0]
		require.Equal(t, !strings.Contains(name, "id"), odd.ID == secretID, name)
		require.Equal(t, !strings.Contains(name, "name"), odd.Name == "db_password", name)
		require.Len(t, odd.Versions, 1, name)
	}
	for _, record := range []string{`null`, `7`, `"x"`, `[]`, `{}`} {
		page, err := newClient(t, always(200, pageWith(record))).ListSecrets(t.Context(), ListOptions{})
		require.NoError(t, err, record)
		require.Equal(t, []Secret{*good}, page.Secrets, record)
		require.Equal(t, []Secret{{}}, page.Odd, record)
	}
}

func TestAPartOfARecordThatIsNotNeededCostsItselfAlone(t *testing.T) {
	t.Parallel()
	midnight := `"created_at":"2024-05-01T00:00:00Z"`
	for name, example := range map[string]struct {
		old, odd string
		want     func(s *Secret)
	}{
		"time that is none":     {midnight, `"created_at":"yesterday"`, func(s *Secret) { s.CreatedAt, s.Odd = Time{}, true }},
		"time without offset":   {midnight, `"created_at":"2024-05-01T00:00:00"`, func(s *Secret) { s.CreatedAt, s.Odd = Time{}, true }},
		"time that is a number": {midnight, `"created_at":7`, func(s *Secret) { s.CreatedAt, s.Odd = Time{}, true }},
		"time that is told twice": {midnight, midnight + `,"created_at":{}`, func(s *Secret) {
			s.CreatedAt, s.Odd = Time{}, true
		}},
		"change that is no time": {`"updated_at":"2024-05-01T00:00:00Z"`, `"updated_at":"today"`, func(s *Secret) { s.UpdatedAt, s.Odd = Time{}, true }},
		"version's time that is none": {`"updated_at":"2024-05-01T09:05:00+09:00"`, `"updated_at":"?"`, func(s *Secret) {
			s.Versions[0].UpdatedAt, s.Versions[0].Odd = Time{}, true
		}},
		"value that is no base64": {`"version":1`, `"version":1,"value":"?"`, func(s *Secret) { s.Versions[0].Odd = true }},
		"value that is a number":  {`"version":1`, `"version":1,"value":7`, func(s *Secret) { s.Versions[0].Odd = true }},
		"version without number": {`"version":1`, `"version":null`, func(s *Secret) {
			s.Versions[0].Number = 0
			s.Versions, s.OddVersions = []Version{}, s.Versions
		}},
		"number that is a text": {`"version":1`, `"version":"1"`, func(s *Secret) {
			s.Versions[0].Number = 0
			s.Versions, s.OddVersions = []Version{}, s.Versions
		}},
		"number that is too large": {`"version":1`, `"version":2147483648`, func(s *Secret) {
			s.Versions[0].Number = 0
			s.Versions, s.OddVersions = []Version{}, s.Versions
		}},
		"version without id": {`"id":"4053595942757"`, `"id":null`, func(s *Secret) {
			s.Versions[0].ID = ""
			s.Versions, s.OddVersions = []Version{}, s.Versions
		}},
		"version with a broken part": {`"version":1`, `"version":1,"provider":7`, func(s *Secret) {
			s.Versions, s.OddVersions = []Version{}, s.Versions
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := newClient(t, always(200, secretJSON)).GetSecret(t.Context(), secretID, ReadOptions{})
			require.NoError(t, err)
			example.want(want)
			require.Contains(t, secretJSON, example.old)
			answer := strings.Replace(secretJSON, example.old, example.odd, 1)
			got, err := newClient(t, always(200, answer)).GetSecret(t.Context(), secretID, ReadOptions{Values: true})
			require.NoError(t, err)
			require.Equal(t, want, got)
			page, err := newClient(t, always(200, strings.Replace(secretPageJSON, secretJSON, answer, 1))).ListSecrets(t.Context(), ListOptions{})
			require.NoError(t, err)
			require.Equal(t, []Secret{*want}, page.Secrets)
			require.Empty(t, page.Odd)
		})
	}
}

func TestTheValueOfAVersionThatCannotBeUsedIsNotKept(t *testing.T) {
	t.Parallel()
	answer := strings.Replace(secretJSON, `"version":1`, `"version":"1","value":"Zmlyc3Q="`, 1)
	secret, err := newClient(t, always(200, answer)).GetSecret(t.Context(), secretID, ReadOptions{Values: true})
	require.NoError(t, err)
	require.Len(t, secret.OddVersions, 1)
	require.Nil(t, secret.OddVersions[0].Value)
}

func TestOfAListThatAnAnswerHoldsTwiceOnlyTheSecondCounts(t *testing.T) {
	t.Parallel()
	first := strings.Replace(versionJSON, `"version":1`, `"version":1,"value":"Zmlyc3Q="`, 1)
	versions := `"versions":[` + first + `],"Versions":[{"id":"2","version":2}]`
	want := []Version{{ID: "2", Number: 2}}

	page, err := newClient(t, always(200, `{`+versions+`}`)).ListVersions(t.Context(), secretID, ListOptions{})
	require.NoError(t, err)
	require.Equal(t, want, page.Versions)

	named := func(name, more string) string {
		return `{"id":"` + secretID + `","organization_id":"` + org + `","name":"` + name + `"` + more + `}`
	}
	secret, err := newClient(t, always(200, named("db", ","+versions))).GetSecret(t.Context(), secretID, ReadOptions{Values: true})
	require.NoError(t, err)
	require.Equal(t, want, secret.Versions)

	list, err := newClient(t, always(200, `{"organization_id":"`+org+`","secrets":[`+named("db", `,"description":"first",`+versions)+`],"Secrets":[`+named("other", "")+`]}`)).
		ListSecrets(t.Context(), ListOptions{})
	require.NoError(t, err)
	require.Equal(t, []Secret{{ID: secretID, OrganizationID: org, Name: "other"}}, list.Secrets)
}

func TestAnAnswerThatIsNoListOfTheOrganizationIsRefused(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		`{}`, `null`, `{"secrets":[]}`, `{"organization_id":"1410000000000"}`, `{"organization_id":"1410000000000","secrets":null}`,
		`{"organization_id":"1410000000009","secrets":[]}`, versionPageJSON,
	} {
		page, err := newClient(t, always(200, answer)).ListSecrets(t.Context(), ListOptions{})
		requireKind(t, ErrBadAnswer, err, answer)
		require.Nil(t, page)
	}
	page, err := newClient(t, always(200, `{"organization_id":"1410000000000","secrets":[]}`)).ListSecrets(t.Context(), ListOptions{})
	require.NoError(t, err)
	require.Empty(t, page.Secrets)
}

func TestUpdateClearsWhateverClearsAtABEJA(t *testing.T) {
	t.Parallel()
	expiry := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for clear, requests := range map[string]int{"both": 1, "null": 1, "empty": 2} {
		for name, u := range map[string]SecretUpdate{
			"description": {Description: new("")},
			"expiry":      {ExpiredAt: &time.Time{}},
			"both":        {Description: new(""), ExpiredAt: &time.Time{}},
		} {
			sim := simulator.New(simulator.Options{Behavior: simulator.Behavior{Clear: clear}})
			c := newClient(t, sim.Transport())
			made, err := c.CreateSecret(t.Context(), NewSecret{Name: "a", Value: []byte(value), SecretUpdate: SecretUpdate{Description: new("d"), ExpiredAt: &expiry}})
			require.NoError(t, err)
			require.Equal(t, expiry, made.ExpiredAt.Time)

			u.IntegrationServiceIDs = &[]string{"1"}
			updated, err := c.UpdateSecret(t.Context(), made.ID, u)
			require.NoError(t, err, "%s %s", clear, name)
			held, _ := sim.Secret("a")
			require.Equal(t, u.Description != nil, held.Description == "", "%s %s", clear, name)
			require.Equal(t, u.ExpiredAt != nil, held.ExpiredAt.IsZero(), "%s %s", clear, name)
			require.Equal(t, []string{"1"}, held.IntegrationServiceIDs, "what is not cleared is changed all the same")
			require.Equal(t, held.Description, updated.Description)
			require.Equal(t, requests, sim.Count(simulator.UpdateSecret), "%s %s", clear, name)
		}
	}
}

func TestUpdateTriesAnEmptyStringWhereNullIsRefused(t *testing.T) {
	t.Parallel()
	s := inTurn(secretJSON, 400)
	_, err := newClient(t, s).UpdateSecret(t.Context(), secretID, SecretUpdate{Description: new(""), ExpiredAt: &time.Time{}})
	require.NoError(t, err)
	require.Len(t, s.requests, 2)
	require.JSONEq(t, `{"description":null,"expired_at":null}`, s.requests[0].body)
	require.JSONEq(t, `{"description":"","expired_at":""}`, s.requests[1].body)
}

func TestUpdateSendsNothingTwiceForOtherFailures(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 404, 409, 429, 500} {
		s := always(status, "")
		_, err := newClient(t, s).UpdateSecret(t.Context(), secretID, SecretUpdate{Description: new("")})
		require.Equal(t, status, asError(t, err).Status)
		require.Len(t, s.requests, 1)
	}
	s := always(400, "")
	_, err := newClient(t, s).UpdateSecret(t.Context(), secretID, SecretUpdate{Description: new("d")})
	require.ErrorIs(t, err, ErrInvalid)
	require.Len(t, s.requests, 1, "nothing was to be cleared")
}

func TestUpdateSaysWhenNothingClears(t *testing.T) {
	t.Parallel()
	for field, u := range map[string]SecretUpdate{
		`"description":"stays"`:               {Description: new("")},
		`"expired_at":"2030-01-01T00:00:00Z"`: {ExpiredAt: &time.Time{}},
	} {
		s := always(200, fmt.Sprintf(`{"id":%q,"organization_id":%q,"name":"a",%s}`, secretID, org, field))
		updated, err := newClient(t, s).UpdateSecret(t.Context(), secretID, u)
		requireKind(t, ErrBadAnswer, err)
		require.Nil(t, updated)
		require.Len(t, s.requests, 2)
	}
}

func TestSecretsRoundTripThroughTheSimulator(t *testing.T) {
	t.Parallel()
	for name, behavior := range map[string]simulator.Behavior{
		"plain":             {},
		"offsets, no lists": {TimesWithOffset: true, ListOmitsVersions: true},
	} {
		t.Run(name, func(t *testing.T) {
			sim := simulator.New(simulator.Options{Behavior: behavior})
			c := newClient(t, sim.Transport())
			ctx := t.Context()
			expiry := time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)
			made, err := c.CreateSecret(ctx, NewSecret{
				Name: "a", Value: []byte(value), SecretUpdate: SecretUpdate{
					Description: new("d"), ExpiredAt: &expiry,
					IntegrationServiceType: new("abeja-platform-labs"), IntegrationServiceIDs: &[]string{"1"},
				},
			})
			require.NoError(t, err)
			read, err := c.GetSecret(ctx, made.ID, ReadOptions{Values: true})
			require.NoError(t, err)
			require.Equal(t, value, string(read.Versions[0].Value))
			require.Equal(t, expiry, read.ExpiredAt.Time)
			require.Equal(t, []string{"1"}, read.IntegrationServiceIDs)
			require.WithinDuration(t, time.Now(), read.CreatedAt.Time, time.Minute)
			without, err := c.GetSecret(ctx, made.ID, ReadOptions{})
			require.NoError(t, err)
			require.Nil(t, without.Versions[0].Value)

			sim.Fill(101)
			page, err := c.ListSecrets(ctx, ListOptions{})
			require.NoError(t, err)
			require.Len(t, page.Secrets, MaxPage)
			require.True(t, page.HasNext)
			page, err = c.ListSecrets(ctx, ListOptions{Offset: 100, ReadOptions: ReadOptions{Values: true}})
			require.NoError(t, err)
			require.Len(t, page.Secrets, 2)
			require.False(t, page.HasNext)
			require.NotEmpty(t, page.Secrets[0].Versions[0].Value)

			require.NoError(t, c.DeleteSecret(ctx, made.ID))
			require.ErrorIs(t, c.DeleteSecret(ctx, made.ID), ErrNotFound)
		})
	}
}

func TestOneOddRecordAtABEJACostsItselfAlone(t *testing.T) {
	t.Parallel()
	for kind, version := range map[simulator.Odd]int{
		simulator.OddTimeWithoutZone: 0, simulator.OddNullName: 0,
		simulator.OddVersionWithoutNumber: 1, simulator.OddVersionWithoutValue: 1, simulator.OddBadBase64: 1,
	} {
		t.Run(string(kind), func(t *testing.T) {
			sim := simulator.New(simulator.Options{})
			sim.Create("other", []byte("x"))
			id := sim.Create("odd", []byte("1"))
			sim.AddVersion("odd", []byte("2"))
			sim.MakeOdd("odd", kind, version)
			c := newClient(t, sim.Transport())
			page, err := c.ListSecrets(t.Context(), ListOptions{})
			require.NoError(t, err)
			require.Equal(t, "other", page.Secrets[0].Name)
			if kind == simulator.OddNullName {
				require.Len(t, page.Secrets, 1)
				require.Equal(t, id, page.Odd[0].ID)
			} else {
				require.Len(t, page.Secrets, 2)
			}
			s, err := c.GetSecret(t.Context(), id, ReadOptions{Values: true})
			require.NoError(t, err)
			require.Equal(t, kind == simulator.OddTimeWithoutZone, s.Odd)
			require.Equal(t, 2, len(s.Versions)+len(s.OddVersions))
			newest := s.Versions[len(s.Versions)-1]
			require.Equal(t, "2", string(newest.Value))
			versions, err := c.ListVersions(t.Context(), id, ListOptions{})
			require.NoError(t, err)
			require.Equal(t, 2, len(versions.Versions)+len(versions.Odd))
		})
	}
}

func TestNoContentIsAnAnswerToADeleteAlone(t *testing.T) {
	t.Parallel()
	for _, x := range exchanges() {
		err := x.call(t.Context(), newClient(t, always(204, "")))
		if x.method == "DELETE" {
			require.NoError(t, err, x.op)
		} else {
			require.ErrorIs(t, err, ErrBadAnswer, x.op)
		}
	}
}
