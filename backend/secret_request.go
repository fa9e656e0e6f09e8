package backend

import (
	"context"
	"errors"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// secretRequest is a request about one secret, to the mount as it is when the request begins.
type secretRequest struct {
	*mount
	secret store.Ref
	name   string // in the mount; "" when an id was given
	req    *logical.Request
	fields *framework.FieldData
}

// secretHandler does what is asked of a secret. It returns the store's errors as they come.
type secretHandler func(context.Context, *secretRequest) (*logical.Response, error)

// onSecret makes the operation of a handler. Every operation on a secret is made here: so each finds
// the secret and the mount, and tells what stands in its way, as all others do.
func (b *backend) onSecret(do secretHandler) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		r := &secretRequest{req: req, fields: d}
		var err error
		if r.secret, r.name, err = secretOf(d); err != nil {
			return nil, err
		}
		if r.mount, err = b.mount(ctx, req); err != nil {
			return nil, err
		}
		if r.name != "" && !store.ValidName(r.config.NamePrefix+r.name) {
			return nil, badRequest("a secret's name must have at most 512 characters, those of the mount's name_prefix included: choose a shorter one")
		}
		if req.Operation == logical.DeleteOperation {
			r.secret = r.secret.Surely() // its absence is told as a success
		}
		resp, err := do(ctx, r)
		if err = r.told(err); err != nil {
			return nil, err
		}
		return resp, nil
	}
}

// secretOf finds out which secret a path means.
func secretOf(d *framework.FieldData) (secret store.Ref, name string, err error) {
	if d.Schema["id"] != nil {
		id := d.Get("id").(string)
		if !client.ValidID(id) {
			return store.Ref{}, "", badRequest("an id must have 1 to 64 letters, digits, '_' or '-'")
		}
		return store.ByID(id), "", nil
	}
	if name = nameIn(d); !store.ValidName(name) {
		return store.Ref{}, "", badRequest("%s", nameRule)
	}
	return store.ByName(name), name, nil
}

const nameRule = "a secret's name must have 1 to 512 ASCII letters, digits, '_' and '-', and no slash"

// nameIn is the name in a path; KV version 2 calls it path.
func nameIn(d *framework.FieldData) string {
	if d.Schema["path"] != nil {
		return d.Get("path").(string)
	}
	return d.Get("name").(string)
}

// exists is the existence check of all paths that can create a secret.
func (b *backend) exists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	name := nameIn(d)
	if !store.ValidName(name) {
		return false, nil // the handler refuses, once the policy has let the request through
	}
	m, err := b.mount(ctx, req)
	if err != nil || !store.ValidName(m.config.NamePrefix+name) {
		return false, nil
	}
	return m.store.Exists(ctx, name), nil
}

// told is what the caller learns of an error: what it means depends on what was asked.
func (r *secretRequest) told(err error) error {
	absent := errors.Is(err, store.ErrNotFound)
	var withheld *store.WithheldError
	switch {
	case errors.As(err, &withheld):
		if denied := r.denied(withheld); denied != nil {
			return denied
		}
	case r.req.Operation == logical.DeleteOperation && (absent || is[*store.NoVersionError](err)):
		return nil // as it was to be
	case absent && !isRead(r.req.Operation):
		return errGone
	case errors.Is(err, store.ErrExists):
		if cas, casErr := givenCAS(r.fields); casErr == nil && cas != nil && *cas == 0 {
			return badRequest("%s (the secret exists: read it and decide again)", casMismatch)
		}
	}
	return err
}

// denied refuses a secret that has expired, if the config wants that.
func (m *mount) denied(withheld *store.WithheldError) error {
	if m.config.ExpiredSecrets != expiredDeny {
		return nil
	}
	return &deniedError{withheld}
}

// write creates the secret or changes it, and what is kept of it here. The first value takes over what has
// waited for it.
func (r *secretRequest) write(ctx context.Context, u store.Update, change *customChange) (store.WriteResult, error) {
	name := owner{}
	if u.Value != nil {
		name = r.byName()
		pending, _, err := r.custom.get(ctx, ofPending, name)
		if err != nil {
			return store.WriteResult{}, err
		}
		if text := pending.Keys[descriptionKey]; text != "" && u.Description == nil {
			u.Description = &text
		}
	}
	if err := r.fits(ctx, change); err != nil {
		return store.WriteResult{}, err
	}
	written, err := r.send(ctx, u)
	if err != nil {
		return written, err
	}
	if u.Description != nil {
		written.Description = *u.Description
	}
	return written, settled("the rest is stored", r.custom.settle(ctx, r.config.owner(written.ID), name, change))
}

// send has ABEJA create the secret or change it, as the existence check has decided.
func (r *secretRequest) send(ctx context.Context, u store.Update) (store.WriteResult, error) {
	if r.req.Operation != logical.CreateOperation {
		return r.store.Update(ctx, r.secret, u)
	}
	if err := checkNewName(r.config.NamePrefix + r.name); err != nil {
		return store.WriteResult{}, err
	}
	if u.Value == nil {
		if err := r.store.Absent(ctx, r.secret); err != nil {
			return store.WriteResult{}, err
		}
		return store.WriteResult{}, badRequest("there is no such secret: creating one needs a value")
	}
	return r.store.Create(ctx, r.name, u)
}
