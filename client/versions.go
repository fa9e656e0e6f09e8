package client

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
)

// Status is whether a version is in use.
type Status string

// The two states of a version. An inactive one still has a value to read.
const (
	Active   Status = "active"
	Inactive Status = "inactive"
)

// Version is one value that a secret has or had.
type Version struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	SecretID       string `json:"secret_id"`
	// Number counts from 1, and fits into 32 bits.
	Number    int    `json:"version"`
	Status    Status `json:"status"`
	Provider  string `json:"provider"`
	CreatedAt Time   `json:"created_at"`
	// UpdatedAt moves by itself: it does not say that the value changed.
	UpdatedAt Time `json:"updated_at"`
	// Value is nil unless ReadOptions.Values asked for it and ABEJA gave one that is base64.
	Value []byte `json:"value"`
	// Odd says that the value is nil, or a time is zero, since it could not be understood.
	Odd bool `json:"odd,omitempty"`
}

// versionRecord is a version as an answer holds it.
type versionRecord struct {
	Version
	CreatedAt lenientTime  `json:"created_at"`
	UpdatedAt lenientTime  `json:"updated_at"`
	Value     lenientBytes `json:"value"`
	broken    bool
}

func (r *versionRecord) read(raw []byte) { r.broken = json.Unmarshal(raw, r) != nil }

func (r *versionRecord) content() (Version, error) {
	v := r.Version
	v.CreatedAt, v.UpdatedAt, v.Value = r.CreatedAt.Time, r.UpdatedAt.Time, r.Value.bytes
	v.Odd = r.CreatedAt.odd || r.UpdatedAt.odd || r.Value.odd
	if v.Number < 1 || v.Number > math.MaxInt32 {
		v.Number = 0
	}
	var err error
	switch {
	case r.broken:
		err = errNotJSON
	case !ValidID(v.ID) || v.Number == 0:
		err = errors.New("the answer holds a version without id or number")
	}
	if err != nil {
		v.Value = nil // of no use, and it takes memory
	}
	return v, err
}

func (v *Version) read(raw []byte) (err error) {
	var r versionRecord
	r.read(raw)
	*v, err = r.content()
	return err
}

func (v *Version) accept(a *asked) error {
	if v.OrganizationID != "" && v.OrganizationID != a.organizationID {
		return foreignError("the answer holds a version of another organization")
	}
	if v.Value != nil && a.Keep != nil && !a.Keep(v.Value) {
		v.Value = nil
	}
	return nil
}

// VersionPage is one page of a secret's versions.
type VersionPage struct {
	Pagination struct {
		Count   int  `json:"count"`
		HasNext bool `json:"has_next"`
		Limit   int  `json:"limit"`
		Offset  int  `json:"offset"`
	} `json:"pagination"`
	Versions []Version `json:"versions"`
	// Odd are the versions that cannot be used, as Secret.OddVersions.
	Odd []Version `json:"odd,omitempty"`
}

func (p *VersionPage) read(raw []byte) error {
	whole := struct {
		*VersionPage
		Versions list[versionRecord] `json:"versions"`
	}{VersionPage: p}
	if json.Unmarshal(raw, &whole) != nil {
		each := struct {
			*VersionPage
			Versions []json.RawMessage `json:"versions"`
		}{VersionPage: p}
		if json.Unmarshal(raw, &each) != nil {
			return errNotJSON
		}
		whole.Versions = apart[Version, versionRecord](each.Versions)
	}
	if whole.Versions == nil {
		return errors.New("the answer is not a list of versions")
	}
	p.Versions, p.Odd = sorted[Version](whole.Versions)
	return nil
}

func (p *VersionPage) accept(a *asked) error { return acceptEach(a, p.Versions, p.Odd) }

// ListVersions returns one page of a secret's versions.
func (c *Client) ListVersions(ctx context.Context, secretID string, opts ListOptions) (*VersionPage, error) {
	path, err := idPath(OpListVersions, "/secrets/%s/versions", secretID)
	if err != nil {
		return nil, err
	}
	q, err := opts.query(OpListVersions)
	if err != nil {
		return nil, err
	}
	var page VersionPage
	if err := c.do(ctx, call{op: OpListVersions, method: http.MethodGet, path: path, query: q, options: opts.ReadOptions, answer: &page}); err != nil {
		return nil, err
	}
	for _, versions := range [][]Version{page.Versions, page.Odd} {
		for i := range versions {
			if err := belongs(OpListVersions, &versions[i], secretID); err != nil {
				return nil, err
			}
		}
	}
	return &page, nil
}

// GetVersion returns one version.
func (c *Client) GetVersion(ctx context.Context, secretID, versionID string, opts ReadOptions) (*Version, error) {
	return c.version(ctx, call{op: OpGetVersion, method: http.MethodGet, query: opts.query(), options: opts}, secretID, versionID)
}

// CreateVersion adds a version with a new value to a secret, which must not be empty. It is sent once: after an
// error with OutcomeUnknown the version may exist.
func (c *Client) CreateVersion(ctx context.Context, secretID string, value []byte) (*Version, error) {
	path, err := idPath(OpCreateVersion, "/secrets/%s/versions", secretID)
	if err != nil {
		return nil, err
	}
	body := struct {
		Value []byte `json:"value"`
	}{value}
	var v Version
	if err := c.do(ctx, call{op: OpCreateVersion, method: http.MethodPost, path: path, body: body, submitted: value, answer: &v}); err != nil {
		return nil, err
	}
	if err := belongs(OpCreateVersion, &v, secretID); err != nil {
		return nil, err
	}
	return &v, nil
}

// UpdateVersion sets a version's status.
func (c *Client) UpdateVersion(ctx context.Context, secretID, versionID string, status Status) (*Version, error) {
	body := struct {
		Status Status `json:"status"`
	}{status}
	return c.version(ctx, call{op: OpUpdateVersion, method: http.MethodPatch, body: body}, secretID, versionID)
}

// DeleteVersion deletes a version for good.
func (c *Client) DeleteVersion(ctx context.Context, secretID, versionID string) error {
	path, err := idPath(OpDeleteVersion, "/secrets/%s/versions/%s", secretID, versionID)
	if err != nil {
		return err
	}
	return c.do(ctx, call{op: OpDeleteVersion, method: http.MethodDelete, path: path, answer: &message{}})
}

// version makes a call about one version and holds the answer against its ids.
func (c *Client) version(ctx context.Context, k call, secretID, versionID string) (*Version, error) {
	path, err := idPath(k.op, "/secrets/%s/versions/%s", secretID, versionID)
	if err != nil {
		return nil, err
	}
	var v Version
	k.path, k.answer = path, &v
	if err := c.do(ctx, k); err != nil {
		return nil, err
	}
	if v.ID != versionID {
		return nil, &Error{Op: k.op, Status: http.StatusOK, Err: errors.New("the answer is about another version")}
	}
	if err := belongs(k.op, &v, secretID); err != nil {
		return nil, err
	}
	return &v, nil
}

func belongs(op Op, v *Version, secretID string) error {
	if v.SecretID != "" && v.SecretID != secretID {
		return &Error{Op: op, Status: http.StatusOK, Err: errOtherSecret}
	}
	return nil
}
