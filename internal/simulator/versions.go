package simulator

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

const (
	active   = "active"
	inactive = "inactive"
)

type version struct {
	object
	number int
	status string
	value  []byte
}

// versionJSON is a version on the wire. Its value is base64, and absent unless asked for.
type versionJSON struct {
	ID             string `json:"id"`
	OrganizationID string `json:"organization_id"`
	SecretID       string `json:"secret_id"`
	Version        int    `json:"version,omitempty"`
	Status         string `json:"status"`
	Provider       string `json:"provider"`
	CreatedAt      string `json:"created_at"`
	UpdatedAt      string `json:"updated_at"`
	Value          string `json:"value,omitempty"`
}

func (s *Simulator) versionJSON(sec *secret, v *version, value bool) versionJSON {
	updated := v.updated
	if s.behavior.VersionTimesDrift {
		if mark := time.Now().Truncate(5 * time.Minute); mark.After(updated) {
			updated = mark
		}
	}
	out := versionJSON{
		ID:             v.id,
		OrganizationID: s.organization,
		SecretID:       sec.id,
		Version:        v.number,
		Status:         v.status,
		Provider:       provider,
		CreatedAt:      s.formatTime(v.created),
		UpdatedAt:      s.formatTime(updated),
	}
	if sec.is(OddVersionWithoutNumber, v.number) {
		out.Version = 0
	}
	switch {
	case !value || sec.is(OddVersionWithoutValue, v.number):
	case sec.is(OddBadBase64, v.number):
		out.Value = "this is no base64!"
	default:
		out.Value = base64.StdEncoding.EncodeToString(v.value)
	}
	return out
}

// versionsJSON returns all versions in the order of lists.
func (s *Simulator) versionsJSON(sec *secret, values bool) []versionJSON {
	sorted := slices.SortedFunc(slices.Values(sec.versions), func(a, b *version) int { return s.compare(a.object, b.object) })
	out := make([]versionJSON, len(sorted))
	for i, v := range sorted {
		out[i] = s.versionJSON(sec, v, values)
	}
	return out
}

func (s *Simulator) listVersions(c call) (any, *apiError) {
	sec, err := s.findReadable(c)
	if err != nil {
		return nil, err
	}
	type pagination struct {
		Count   int  `json:"count"`
		HasNext bool `json:"has_next"`
		Limit   int  `json:"limit"`
		Offset  int  `json:"offset"`
	}
	page, hasNext := pageOf(s.versionsJSON(sec, c.values), c)
	return struct {
		Pagination pagination    `json:"pagination"`
		Versions   []versionJSON `json:"versions"`
	}{pagination{len(page), hasNext, c.limit, c.offset}, page}, nil
}

// findVersion returns the version of sec with the id in c.
func (s *Simulator) findVersion(sec *secret, c call) (*version, *apiError) {
	for _, v := range sec.versions {
		if v.id == c.version {
			return v, nil
		}
	}
	return nil, s.unknown("version", c.version)
}

func (s *Simulator) getVersion(c call) (any, *apiError) {
	sec, err := s.findReadable(c)
	if err != nil {
		return nil, err
	}
	v, err := s.findVersion(sec, c)
	if err != nil {
		return nil, err
	}
	return s.versionJSON(sec, v, c.values), nil
}

func (s *Simulator) createVersion(c call) (any, *apiError) {
	sec, err := s.find(c)
	if err != nil {
		return nil, err
	}
	fields, err := readFields(c.body, "value")
	if err != nil {
		return nil, err
	}
	value, err := readValue(fields)
	if err != nil {
		return nil, err
	}
	v, err := s.addVersion(sec, value)
	if err != nil {
		return nil, err
	}
	return s.versionJSON(sec, v, c.values), nil
}

// readValue takes only canonical base64, without line breaks.
func readValue(fields map[string]json.RawMessage) ([]byte, *apiError) {
	text, err := readString(fields, "value")
	if err != nil {
		return nil, err
	}
	value, decodeErr := base64.StdEncoding.DecodeString(text)
	if decodeErr != nil || base64.StdEncoding.EncodeToString(value) != text {
		return nil, badField("value", "value must be standard base64")
	}
	return value, nil
}

// addVersion checks the value and adds it as the newest version. Versions may share a value: it never changes.
func (s *Simulator) addVersion(sec *secret, value []byte) (*version, *apiError) {
	if len(value) == 0 {
		return nil, badField("value", "value must not be empty")
	}
	if limit := cmp.Or(s.behavior.MaxValueBytes, 65536); len(value) > limit {
		return nil, badField("value", "value must not be larger than %d bytes", limit)
	}
	if limit := cmp.Or(s.behavior.MaxVersions, 100); len(sec.versions) >= limit {
		return nil, badRequest("a secret must not have more than %d versions", limit)
	}
	if s.behavior.NewVersionDeactivatesOlder {
		for _, older := range sec.versions {
			older.setStatus(inactive)
		}
	}
	sec.lastNumber++
	v := &version{object: s.newObject(), number: sec.lastNumber, status: active, value: value}
	sec.versions = append(sec.versions, v)
	return v, nil
}

func (v *version) setStatus(status string) {
	if v.status != status {
		v.status, v.updated = status, time.Now()
	}
}

func (s *Simulator) updateVersion(c call) (any, *apiError) {
	sec, err := s.find(c)
	if err != nil {
		return nil, err
	}
	v, err := s.findVersion(sec, c)
	if err != nil {
		return nil, err
	}
	fields, err := readFields(c.body, "status")
	if err != nil {
		return nil, err
	}
	status, err := readString(fields, "status")
	if err != nil {
		return nil, err
	}
	if status != active && status != inactive {
		return nil, badField("status", "status must be active or inactive")
	}
	if status == inactive && s.behavior.LastVersionProtected && onlyActive(sec, v) {
		return nil, badRequest("the only active version must not be made inactive")
	}
	v.setStatus(status)
	return s.versionJSON(sec, v, false), nil
}

func (s *Simulator) deleteVersion(c call) (any, *apiError) {
	sec, err := s.find(c)
	if err != nil {
		return nil, err
	}
	v, err := s.findVersion(sec, c)
	if err != nil {
		return nil, err
	}
	if s.behavior.LastVersionProtected && (len(sec.versions) == 1 || onlyActive(sec, v)) {
		return nil, badRequest("the only version, or the only active one, must not be deleted")
	}
	sec.versions = slices.DeleteFunc(sec.versions, func(other *version) bool { return other == v })
	return map[string]string{"message": fmt.Sprintf("secret_version_id %s successfully deleted", v.id)}, nil
}

func onlyActive(sec *secret, v *version) bool {
	return v.status == active && !slices.ContainsFunc(sec.versions, func(other *version) bool {
		return other != v && other.status == active
	})
}
