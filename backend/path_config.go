package backend

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

const (
	configSynopsis    = "The connection to ABEJA Secret Manager."
	configDescription = `
Says which organization the mount shows, and as which ABEJA user. Give user_id and
personal_access_token, or auth_token. Fields that are not given keep their value.

    vault write abeja/config organization_id=ID user_id=ID personal_access_token=-

The write asks ABEJA whether it accepts the credential, and stores nothing if not;
verify_connection=false stores it without checking. The credential is never returned. Changing
api_url, ca_cert or user_id needs the credential again, so that who may write here
cannot have the stored one sent elsewhere.`
)

func (b *backend) pathConfig() *framework.Path {
	described := map[int][]framework.Response{http.StatusOK: {{Description: "The connection, without its credential.", Fields: configAnswer}}}
	done := noContent("Stored.")
	return &framework.Path{
		Pattern:         "config",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix},
		HelpSynopsis:    configSynopsis,
		HelpDescription: strings.TrimSpace(configDescription),
		Fields:          configSchemas(func(configField) bool { return true }),
		ExistenceCheck: func(ctx context.Context, req *logical.Request, _ *framework.FieldData) (bool, error) {
			c, err := readConfig(ctx, req.Storage)
			return c != nil, err
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.readConfigPath, Summary: "Read the connection.", Responses: described,
				DisplayAttrs:              &framework.DisplayAttributes{OperationVerb: "read", OperationSuffix: "configuration"},
				ForwardPerformanceStandby: true,
			},
			logical.CreateOperation: &framework.PathOperation{
				Callback: b.writeConfig, Summary: "Write the connection.", Responses: done,
				DisplayAttrs:              verb("configure"),
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
			logical.UpdateOperation: &framework.PathOperation{
				Callback: b.writeConfig, Summary: "Write the connection.", Responses: done,
				DisplayAttrs:              verb("configure"),
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
			logical.PatchOperation: &framework.PathOperation{
				Callback: b.writeConfig, Summary: "Change parts of the connection; null sets a field to its default.", Responses: done,
				DisplayAttrs:              &framework.DisplayAttributes{OperationVerb: "patch", OperationSuffix: "configuration"},
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
			logical.DeleteOperation: &framework.PathOperation{
				Callback: b.deleteConfig, Summary: "Forget the connection and its credential.",
				Responses:                 noContent("Forgotten."),
				DisplayAttrs:              &framework.DisplayAttributes{OperationVerb: "delete", OperationSuffix: "configuration"},
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
		},
	}
}

// configAnswer is what a read answers: the fields without the credential, and which kind it is.
var configAnswer = func() map[string]*framework.FieldSchema {
	answer := configSchemas(configField.shown)
	answer["credential"] = &framework.FieldSchema{
		Type:        framework.TypeString,
		Description: "The kind of credential that is stored: 'personal_access_token' or 'auth_token'.",
	}
	return answer
}()

func (b *backend) readConfigPath(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	c, err := readConfig(ctx, req.Storage)
	if err != nil || c == nil {
		return nil, err
	}
	credential := "personal_access_token"
	if c.AuthToken != "" {
		credential = "auth_token"
	}
	data := map[string]any{"credential": credential}
	for name, field := range configFields {
		if field.shown() {
			data[name] = field.get(c)
		}
	}
	return &logical.Response{Data: data}, nil
}

// writeConfig changes the fields that are given. It holds no lock while it asks ABEJA.
func (b *backend) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	stored, err := readConfig(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	if stored == nil && req.Operation == logical.PatchOperation {
		return nil, logical.CodedError(http.StatusNotFound, "not configured: write the whole config first")
	}
	c, err := changedConfig(stored, d)
	if err != nil {
		return nil, err
	}
	m, err := b.newMount(c)
	if err != nil {
		return nil, err
	}
	verified := d.Get("verify_connection").(bool)
	if verified {
		err = m.store.Verify(ctx)
	}
	if err != nil {
		err = refusedConfig(err)
	} else {
		err = b.replaceConfig(ctx, req.Storage, stored, m, verified)
	}
	if err != nil {
		m.store.Close()
	}
	return nil, err
}

// replaceConfig stores the config of a mount and puts the mount in place of the one in use, unless
// what is stored is no longer what was changed.
func (b *backend) replaceConfig(ctx context.Context, s logical.Storage, stored *config, m *mount, verified bool) error {
	b.configMu.Lock()
	defer b.configMu.Unlock()
	now, err := readConfig(ctx, s)
	if err != nil {
		return err
	}
	if (now == nil) != (stored == nil) || now != nil && *now != *stored {
		return logical.CodedError(http.StatusConflict, "the config was changed by another request at the same time: read it and write again")
	}
	entry, err := logical.StorageEntryJSON(configKey, m.config)
	if err != nil {
		return err
	}
	if old := b.mounted.Load(); old != nil && verified && m.config.sameUser(&old.config) {
		m.store.Inherit(old.store)
	}
	// First: whatever fails then, no user of ABEJA is given what another was shown.
	if stored != nil && stored.KeepLastGood && !m.config.inheritsLastGood(stored, verified) {
		b.forget() // the old mount still puts on the shelf what it has read
		if err := b.shelf.Clear(ctx); err != nil {
			return err
		}
	}
	if err := s.Put(ctx, entry); err != nil {
		return err
	}
	b.forget()
	moved := stored != nil && stored.owner("") != m.config.owner("")
	if moved {
		if err := b.custom.clear(ctx); err != nil { // it is not found any more, and periodic deletes it
			b.Logger().Warn("custom_metadata of another organization is still stored", "error", err)
		}
	}
	if err := b.keepLastGood(ctx, m); err != nil {
		m.store.Close() // the config is stored: the next request begins from it
	} else {
		b.mounted.Store(m)
	}
	if moved || stored != nil && stored.KeepLastGood {
		b.sweepSoon()
	}
	return nil
}

// refusedConfig words what ABEJA said to a connection that is to be stored.
func refusedConfig(err error) error {
	const nothingStored = "; nothing is stored (verify_connection=false stores it without checking)"
	if errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrNotFound) {
		return badRequest("ABEJA does not accept the credential for this organization: check organization_id, user_id and the token%s", nothingStored)
	}
	if e, ok := coded(err).(logical.HTTPCodedError); ok {
		return logical.CodedError(e.Code(), e.Error()+nothingStored)
	}
	return err
}

func (b *backend) deleteConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	b.configMu.Lock()
	defer b.configMu.Unlock()
	b.forget() // the old mount still puts on the shelf what it has read
	if err := b.shelf.Clear(ctx); err != nil {
		return nil, err
	}
	if err := req.Storage.Delete(ctx, configKey); err != nil {
		return nil, err
	}
	if err := b.custom.clear(ctx); err != nil { // last: it is kept nowhere else
		return nil, err
	}
	b.sweepSoon()
	return nil, nil
}

// changedConfig is the stored config with what is given in its place, checked.
func changedConfig(stored *config, d *framework.FieldData) (config, error) {
	c := config{}
	if stored != nil {
		c = *stored
	}
	for name, field := range configFields {
		raw, given := d.Raw[name]
		if field.in == nil || !given && stored != nil {
			continue
		}
		value := field.DefaultOrZero()
		if given && raw != nil {
			value = d.Get(name)
		}
		field.set(&c, value)
	}
	c.APIURL = strings.TrimRight(c.APIURL, "/")
	pat, token := given(d, "personal_access_token"), given(d, "auth_token")
	switch {
	case token && (pat || given(d, "user_id")):
		return c, badRequest("give only one kind of credential: user_id and personal_access_token, or auth_token")
	case pat:
		c.AuthToken = ""
	case token:
		c.UserID, c.PersonalAccessToken = "", ""
	}
	if err := c.check(); err != nil {
		return c, err
	}
	if stored != nil && !pat && !token && c.target() != stored.target() {
		return c, badRequest("changing api_url, ca_cert or user_id needs the credential again: give personal_access_token or auth_token in the same write")
	}
	return c, nil
}

func given(d *framework.FieldData, field string) bool {
	return d.Get(field).(string) != ""
}
