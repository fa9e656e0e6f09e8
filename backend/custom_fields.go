package backend

import (
	"context"
	"errors"
	"maps"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// The limits of KV version 2.
const (
	maxCustomKeys  = 64
	maxCustomKey   = 128
	maxCustomValue = 512
)

var errTooManyKeys = badRequest("custom_metadata must be at most %d keys, those that stay included", maxCustomKeys)

// descriptionKey is the key of custom metadata that is the secret's description at ABEJA.
const descriptionKey = "description"

// customChange is what a write says of custom metadata. A nil one says nothing.
type customChange struct {
	merges bool               // into what there is, in place of which it stands otherwise
	keys   map[string]*string // nil removes
}

// on returns what there is afterwards.
func (change *customChange) on(keys map[string]string) map[string]string {
	if change == nil {
		return keys
	}
	out := make(map[string]string)
	if change.merges {
		maps.Copy(out, keys)
	}
	for key, value := range change.keys {
		if value == nil {
			delete(out, key)
		} else {
			out[key] = *value
		}
	}
	return out
}

// parseCustom checks the custom_metadata of a write or patch, as KV version 2 does. Other than there, no
// message repeats what was given.
func parseCustom(raw any, patch bool) (*customChange, error) {
	given, isMap := raw.(map[string]any)
	if raw != nil && !isMap {
		return nil, badRequest("custom_metadata must be a map")
	}
	change := &customChange{merges: patch && raw != nil, keys: make(map[string]*string, len(given))}
	if len(given) > maxCustomKeys {
		return nil, errTooManyKeys
	}
	for key, value := range given {
		if key == "" || len(key) > maxCustomKey || !printable(key) {
			return nil, badRequest("custom_metadata's keys must be printable text of 1 to %d bytes", maxCustomKey)
		}
		if value == nil && patch {
			change.keys[key] = nil
			continue
		}
		text, ok := customText(value)
		switch {
		case key == descriptionKey && (!ok || text == "" || len(text) > maxDescription):
			return nil, badRequest("custom_metadata's description must be text of 1 to %d bytes", maxDescription)
		case key != descriptionKey && (!ok || text == "" || len(text) > maxCustomValue || !printable(text)):
			return nil, badRequest("custom_metadata's values must be printable text of 1 to %d bytes", maxCustomValue)
		}
		change.keys[key] = &text
	}
	return change, nil
}

// description takes the description out of the change, and returns what it becomes; nil if it stays.
func (change *customChange) description() *string {
	if change == nil {
		return nil
	}
	text, given := change.keys[descriptionKey]
	delete(change.keys, descriptionKey)
	if text == nil && (given || !change.merges) {
		return new(string)
	}
	return text
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// customText is the text that KV version 2 makes of a value, if it makes any and Vault has it exactly.
func customText(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case bool:
		if value {
			return "1", true
		}
		return "0", true
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), math.Abs(value) < 1<<53
	}
	return "", false
}

// customError is a request that ABEJA has done its part of, and Vault's storage has not.
type customError struct {
	done string
	err  error
}

// Error implements error.
func (e *customError) Error() string {
	return e.done + ", but its custom_metadata is not, since Vault's storage failed: " + e.err.Error()
}

// byName is the name as an owner, of none when an id was given.
func (r *secretRequest) byName() owner {
	if r.name == "" {
		return owner{}
	}
	return r.config.owner(r.config.NamePrefix + r.name)
}

// fits refuses a change by which a secret would have too many keys, before ABEJA is asked to do its part.
func (r *secretRequest) fits(ctx context.Context, change *customChange) error {
	if change == nil || !change.merges {
		return nil // the keys that are given are counted already
	}
	id, err := r.store.ID(ctx, r.secret)
	if err != nil {
		return err
	}
	old, _, err := r.custom.get(ctx, ofSecrets, r.config.owner(id))
	if err == nil && len(change.on(old.Keys)) > maxCustomKeys {
		err = errTooManyKeys
	}
	return err
}

// settled is what the caller learns when ABEJA has done its part of a request.
func settled(done string, err error) error {
	switch _, isCoded := err.(logical.HTTPCodedError); {
	case err == nil, isCoded:
		return err
	case forwarded(err) == logical.ErrReadOnly:
		return logical.ErrReadOnly
	}
	return &customError{done, err}
}

// forwarded makes of the error of a storage that cannot be written here the one for which Vault has the whole
// request done where it can be.
func forwarded(err error) error {
	if err != nil && strings.Contains(err.Error(), logical.ErrReadOnly.Error()) {
		return logical.ErrReadOnly
	}
	return err
}

// delete deletes the secret, and what is kept of it here.
func (r *secretRequest) delete(ctx context.Context) error {
	id, err := r.store.ID(ctx, r.secret)
	if err == nil {
		err = r.store.Delete(ctx, r.secret)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return settled("the secret is deleted", r.custom.forget(ctx, r.config.owner(id), r.byName()))
}

// customOf is what is shown as the custom metadata of the secret with that id, with a description if one is
// given: a map, or nil.
func (m *mount) customOf(ctx context.Context, id, description string) (any, error) {
	e, _, err := m.custom.get(ctx, ofSecrets, m.config.owner(id))
	if err != nil {
		return nil, err
	}
	return shownCustom(e.Keys, description), nil
}

func shownCustom(keys map[string]string, description string) any {
	shown := make(map[string]any, len(keys)+1)
	for key, value := range keys {
		shown[key] = value
	}
	if description != "" {
		shown[descriptionKey] = description
	}
	if len(shown) == 0 {
		return nil
	}
	return shown
}
