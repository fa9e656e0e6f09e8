package client

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// MaxPage is the largest page that ABEJA returns, for secrets and for versions.
const MaxPage = 100

// Secret is a named secret of the organization, with the versions that ABEJA sent along.
type Secret struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	UserID         string `json:"user_id"`
	Name           string `json:"name"`
	// Description is empty when there is none.
	Description string `json:"description"`
	// Provider is where ABEJA keeps the value, "aws-secret-manager" today.
	Provider string `json:"provider"`
	Rotation bool   `json:"rotation"`
	// ExpiredAt is when the secret expires or expired; zero when never.
	ExpiredAt Time `json:"expired_at"`
	// IntegrationServiceType and IntegrationServiceIDs are empty when the secret is not integrated.
	IntegrationServiceType string   `json:"integration_service_type"`
	IntegrationServiceIDs  []string `json:"integration_service_ids"`
	CreatedAt              Time     `json:"created_at"`
	UpdatedAt              Time     `json:"updated_at"`
	// Versions is in no order that may be relied on; in a list it may be missing.
	Versions []Version `json:"versions"`
	// OddVersions are those that cannot be used, since their record has no id or no number, or is
	// broken. Each has what could be understood of it.
	OddVersions []Version `json:"odd_versions,omitempty"`
	// Odd says that CreatedAt or UpdatedAt is zero since it could not be understood.
	Odd bool `json:"odd,omitempty"`
}

// secretRecord is a secret as an answer holds it.
type secretRecord struct {
	Secret
	ExpiredAt lenientTime         `json:"expired_at"`
	CreatedAt lenientTime         `json:"created_at"`
	UpdatedAt lenientTime         `json:"updated_at"`
	Versions  list[versionRecord] `json:"versions"`
	broken    bool
}

func (r *secretRecord) read(raw []byte) {
	if json.Unmarshal(raw, r) == nil {
		return
	}
	own := struct {
		*secretRecord
		Versions []json.RawMessage `json:"versions"`
	}{secretRecord: r}
	r.broken = json.Unmarshal(raw, &own) != nil
	r.Versions = apart[Version, versionRecord](own.Versions)
}

func (r *secretRecord) content() (Secret, error) {
	s := r.Secret
	s.ExpiredAt, s.CreatedAt, s.UpdatedAt = r.ExpiredAt.Time, r.CreatedAt.Time, r.UpdatedAt.Time
	s.Odd = r.CreatedAt.odd || r.UpdatedAt.odd
	s.Versions, s.OddVersions = sorted[Version](r.Versions)
	switch {
	case r.broken:
		return s, errNotJSON
	case !ValidID(s.ID) || s.Name == "" || s.OrganizationID == "":
		return s, errors.New("the answer holds no secret with id, name and organization")
	case r.ExpiredAt.odd: // must not be taken for none
		return s, errors.New("the answer holds a secret whose expired_at is not a time")
	}
	return s, nil
}

func (s *Secret) read(raw []byte) (err error) {
	var r secretRecord
	r.read(raw)
	*s, err = r.content()
	return err
}

func (s *Secret) accept(a *asked) error {
	if err := acceptEach(a, s.Versions, s.OddVersions); err != nil {
		return err
	}
	if s.OrganizationID != "" && s.OrganizationID != a.organizationID {
		return foreignError("the answer holds a secret of another organization")
	}
	for _, versions := range [][]Version{s.Versions, s.OddVersions} {
		for i := range versions {
			if id := versions[i].SecretID; id != "" && id != s.ID && ValidID(s.ID) {
				return errOtherSecret
			}
		}
	}
	return nil
}

// ReadOptions go with every call that reads.
type ReadOptions struct {
	// Values asks for the values of the versions in the answer.
	Values bool
	// MaxBytes is how many bytes the answer may have, in JSON; 0: as many as any of ABEJA's. A larger one is
	// not read to its end, and is ErrLarge.
	MaxBytes int64
	// Keep, when set, says of each value whether it is wanted. In place of the others there is nil, so that
	// they take no memory.
	Keep func(value []byte) bool
}

func (o ReadOptions) query() url.Values {
	q := url.Values{}
	if o.Values {
		q.Set("return_secret_value", "True") // capitalized, as ABEJA's SDK sends it
	}
	return q
}

// ListOptions choose a page.
type ListOptions struct {
	// Offset is how many items come before the page, 0 or more.
	Offset int
	// Limit is how many items the page may have, 1 to MaxPage; 0 means MaxPage.
	Limit int
	ReadOptions
}

func (o ListOptions) query(op Op) (url.Values, error) {
	limit := o.Limit
	if limit == 0 {
		limit = MaxPage
	}
	if o.Offset < 0 || limit < 1 || limit > MaxPage {
		return nil, &Error{Op: op, Status: http.StatusBadRequest, Description: "a page has an offset of 0 or more and a limit of 1 to 100"}
	}
	q := o.ReadOptions.query()
	q.Set("offset", strconv.Itoa(o.Offset))
	q.Set("limit", strconv.Itoa(limit))
	return q, nil
}

// SecretPage is one page of the organization's secrets. Their order is unknown, but stable.
type SecretPage struct {
	OrganizationID string   `json:"organization_id"`
	Secrets        []Secret `json:"secrets"`
	Offset         int      `json:"offset"`
	Limit          int      `json:"limit"`
	// HasNext says that more items came after the page when it was made.
	HasNext bool `json:"has_next"`
	// Odd are the records that are not among Secrets since they cannot be used: one without an id, a
	// name or its organization, with an expiry that is no time, or that is broken. Each has what
	// could be understood of it.
	Odd []Secret `json:"odd,omitempty"`
}

func (p *SecretPage) read(raw []byte) error {
	whole := struct {
		*SecretPage
		Secrets list[secretRecord] `json:"secrets"`
	}{SecretPage: p}
	if json.Unmarshal(raw, &whole) != nil {
		each := struct {
			*SecretPage
			Secrets []json.RawMessage `json:"secrets"`
		}{SecretPage: p}
		if json.Unmarshal(raw, &each) != nil {
			return errNotJSON
		}
		whole.Secrets = apart[Secret, secretRecord](each.Secrets)
	}
	p.Secrets, p.Odd = sorted[Secret](whole.Secrets)
	return nil
}

func (p *SecretPage) accept(a *asked) error {
	if p.OrganizationID != a.organizationID || p.Secrets == nil {
		return errors.New("the answer is not a list of the organization's secrets")
	}
	return acceptEach(a, p.Secrets, p.Odd)
}

// ListSecrets returns one page of the organization's secrets.
func (c *Client) ListSecrets(ctx context.Context, opts ListOptions) (*SecretPage, error) {
	q, err := opts.query(OpListSecrets)
	if err != nil {
		return nil, err
	}
	var page SecretPage
	if err := c.do(ctx, call{op: OpListSecrets, method: http.MethodGet, path: "/secrets", query: q, options: opts.ReadOptions, answer: &page}); err != nil {
		return nil, err
	}
	return &page, nil
}

// GetSecret returns one secret with its versions.
func (c *Client) GetSecret(ctx context.Context, id string, opts ReadOptions) (*Secret, error) {
	return c.secret(ctx, call{op: OpGetSecret, method: http.MethodGet, query: opts.query(), options: opts}, id)
}

// NewSecret is what a secret is created with.
type NewSecret struct {
	// Name has ASCII letters, digits, '_' and '-', does not end in a hyphen and six more
	// characters, and is unique in the organization.
	Name string
	// Value is not empty; it goes over the wire in base64.
	Value []byte
	// SecretUpdate is what else the secret has; there is nothing to clear.
	SecretUpdate
}

// body is the POST's.
func (s NewSecret) body() map[string]any {
	b := s.SecretUpdate.body(nil)
	maps.DeleteFunc(b, func(_ string, v any) bool {
		ids, isIDs := v.([]string)
		return v == nil || isIDs && len(ids) == 0
	})
	b["name"], b["value"] = s.Name, s.Value
	return b
}

// CreateSecret makes a secret with its first version. It is sent once: after an error with
// OutcomeUnknown the secret may exist.
func (c *Client) CreateSecret(ctx context.Context, s NewSecret) (*Secret, error) {
	var made Secret
	err := c.do(ctx, call{op: OpCreateSecret, method: http.MethodPost, path: "/secrets", body: s.body(), submitted: s.Value, answer: &made})
	if err != nil {
		return nil, err
	}
	if made.Name != s.Name {
		return nil, &Error{Op: OpCreateSecret, Status: http.StatusOK, Err: errors.New("the answer is about another secret")}
	}
	return &made, nil
}

// SecretUpdate says what to change; nil leaves a field as it is.
type SecretUpdate struct {
	// Description is cleared by a pointer to "".
	Description *string
	// ExpiredAt is cleared by a pointer to the zero time.
	ExpiredAt              *time.Time
	IntegrationServiceType *string
	IntegrationServiceIDs  *[]string
}

// body is the PATCH's, with the fields to clear as cleared.
func (u SecretUpdate) body(cleared any) map[string]any {
	b := map[string]any{}
	if u.Description != nil {
		b["description"] = *u.Description
		if *u.Description == "" {
			b["description"] = cleared
		}
	}
	if u.ExpiredAt != nil {
		b["expired_at"] = *u.ExpiredAt
		if u.ExpiredAt.IsZero() {
			b["expired_at"] = cleared
		}
	}
	if u.IntegrationServiceType != nil {
		b["integration_service_type"] = *u.IntegrationServiceType
	}
	if u.IntegrationServiceIDs != nil {
		b["integration_service_ids"] = append([]string{}, *u.IntegrationServiceIDs...)
	}
	return b
}

// unclear says that the answer still holds what was to be cleared.
func (u SecretUpdate) unclear(s *Secret) bool {
	return u.Description != nil && *u.Description == "" && s.Description != "" ||
		u.ExpiredAt != nil && u.ExpiredAt.IsZero() && !s.ExpiredAt.IsZero()
}

func (u SecretUpdate) clears() bool {
	return u.Description != nil && *u.Description == "" || u.ExpiredAt != nil && u.ExpiredAt.IsZero()
}

// UpdateSecret changes what goes with a secret; its value has versions for that. ABEJA does not
// say whether null or "" clears a field: null is tried first, then "".
func (c *Client) UpdateSecret(ctx context.Context, id string, u SecretUpdate) (*Secret, error) {
	patch := call{op: OpUpdateSecret, method: http.MethodPatch, body: u.body(nil)}
	s, err := c.secret(ctx, patch, id)
	if u.clears() && (errors.Is(err, ErrInvalid) || err == nil && u.unclear(s)) {
		patch.body = u.body("")
		s, err = c.secret(ctx, patch, id)
	}
	if err == nil && u.unclear(s) {
		return nil, &Error{Op: OpUpdateSecret, Status: http.StatusOK, Err: errors.New("ABEJA cleared neither for null nor for an empty string")}
	}
	return s, err
}

// DeleteSecret deletes a secret with all its versions.
func (c *Client) DeleteSecret(ctx context.Context, id string) error {
	path, err := idPath(OpDeleteSecret, "/secrets/%s", id)
	if err != nil {
		return err
	}
	return c.do(ctx, call{op: OpDeleteSecret, method: http.MethodDelete, path: path, answer: &message{}})
}

// secret makes a call about one secret and holds the answer against its id.
func (c *Client) secret(ctx context.Context, k call, id string) (*Secret, error) {
	path, err := idPath(k.op, "/secrets/%s", id)
	if err != nil {
		return nil, err
	}
	var s Secret
	k.path, k.answer = path, &s
	if err := c.do(ctx, k); err != nil {
		return nil, err
	}
	if s.ID != id {
		return nil, &Error{Op: k.op, Status: http.StatusOK, Err: errors.New("the answer is about another secret")}
	}
	return &s, nil
}

// message is the answer to a DELETE. That it is a JSON object, and no proxy's page, is enough.
type message struct{}

func (m *message) read(raw []byte) error {
	if json.Unmarshal(raw, m) != nil {
		return errNotJSON
	}
	return nil
}

func (m *message) accept(*asked) error { return nil }
