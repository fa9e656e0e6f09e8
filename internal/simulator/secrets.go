package simulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// object is what secrets and versions have in common.
type object struct {
	id               string
	made             int // counts up with each object
	created, updated time.Time
}

// newObject returns ids of 13 digits that are in no order, as ABEJA's are. They are the same in each run.
func (s *Simulator) newObject() object {
	const step, ids = 2_718_281_828_459, 9_000_000_000_000 // no common divisor, so that no id repeats
	s.lastID = (s.lastID + step) % ids
	s.made++
	now := time.Now()
	return object{id: strconv.FormatInt(1_000_000_000_000+s.lastID, 10), made: s.made, created: now, updated: now}
}

// compare puts objects that have no name in the order of lists.
func (s *Simulator) compare(a, b object) int {
	switch s.behavior.Order {
	case "newest":
		return cmp.Compare(b.made, a.made)
	case "hash":
		return strings.Compare(a.id, b.id)
	}
	return cmp.Compare(a.made, b.made)
}

type secret struct {
	object
	name        string
	description string // "" when there is none
	expires     time.Time
	serviceType string
	serviceIDs  []string
	versions    []*version // oldest first
	lastNumber  int
	odd         []oddity
}

func (s *Simulator) compareSecrets(a, b *secret) int {
	if s.behavior.Order == "name" {
		return strings.Compare(a.name, b.name)
	}
	return s.compare(a.object, b.object)
}

func (s *Simulator) sortList() {
	slices.SortFunc(s.list, s.compareSecrets)
}

// secretJSON is a secret on the wire. Fields that ABEJA may leave out are left out when they are empty.
type secretJSON struct {
	ID                     string        `json:"id"`
	OrganizationID         string        `json:"organization_id"`
	UserID                 string        `json:"user_id"`
	Name                   *string       `json:"name"`
	Description            *string       `json:"description"`
	Properties             any           `json:"properties"`
	Provider               string        `json:"provider"`
	Rotation               bool          `json:"rotation"`
	ExpiredAt              *string       `json:"expired_at"`
	IntegrationServiceType string        `json:"integration_service_type,omitempty"`
	IntegrationServiceIDs  []string      `json:"integration_service_ids,omitempty"`
	CreatedAt              string        `json:"created_at"`
	UpdatedAt              string        `json:"updated_at"`
	Versions               []versionJSON `json:"versions,omitzero"`
}

const provider = "aws-secret-manager"

func (s *Simulator) secretJSON(sec *secret, values bool) secretJSON {
	out := secretJSON{
		ID:                     sec.id,
		OrganizationID:         s.organization,
		UserID:                 strings.TrimPrefix(s.user, "user-"),
		Name:                   new(sec.name),
		Provider:               provider,
		IntegrationServiceType: sec.serviceType,
		IntegrationServiceIDs:  sec.serviceIDs,
		CreatedAt:              s.formatTime(sec.created),
		UpdatedAt:              s.formatTime(sec.updated),
		Versions:               s.versionsJSON(sec, values),
	}
	if sec.is(OddTimeWithoutZone, 0) {
		out.CreatedAt = "2024-01-02T03:04:05.678901"
	}
	if sec.description != "" {
		out.Description = new(sec.description)
	}
	if !sec.expires.IsZero() {
		out.ExpiredAt = new(s.formatTime(sec.expires))
	}
	return out
}

func (s *Simulator) formatTime(t time.Time) string {
	if s.behavior.TimesWithOffset {
		return t.In(time.FixedZone("", 9*60*60)).Format("2006-01-02T15:04:05.000000Z07:00")
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

func (s *Simulator) listSecrets(c call) (any, *apiError) {
	list := s.listed()
	if s.behavior.Order == "shuffled" {
		list = slices.Clone(list)
		s.shuffler.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	page, hasNext := pageOf(list, c)
	secrets := make([]secretJSON, len(page))
	for i, sec := range page {
		secrets[i] = s.secretJSON(sec, c.values && !s.hidden(sec))
		if s.behavior.ListOmitsVersions && !c.values {
			secrets[i].Versions = nil
		}
		if sec.is(OddNullName, 0) {
			secrets[i].Name = nil
		}
	}
	return struct {
		OrganizationID string       `json:"organization_id"`
		Secrets        []secretJSON `json:"secrets"`
		Offset         int          `json:"offset"`
		Limit          int          `json:"limit"`
		HasNext        bool         `json:"has_next"`
	}{s.organization, secrets, c.offset, c.limit, hasNext}, nil
}

// deleted is a secret that was deleted, as it was.
type deleted struct {
	*secret
	at time.Time
}

// listed returns the secrets that the list shows, in its order.
func (s *Simulator) listed() []*secret {
	lag := s.behavior.ListLag
	if lag == 0 {
		return s.list
	}
	list := slices.Clone(s.list)
	for _, d := range s.deleted {
		if time.Since(d.at) < lag {
			at, _ := slices.BinarySearchFunc(list, d.secret, s.compareSecrets)
			list = slices.Insert(list, at, d.secret)
		}
	}
	return slices.DeleteFunc(list, func(sec *secret) bool { return time.Since(sec.created) < lag })
}

// pageOf returns the asked page of a list, and whether more come after it.
func pageOf[T any](list []T, c call) (page []T, hasNext bool) {
	start := min(c.offset, len(list))
	end := min(start+c.limit, len(list))
	return list[start:end], end < len(list)
}

// hidden reports whether a secret cannot be read because it has expired.
func (s *Simulator) hidden(sec *secret) bool {
	return s.behavior.ExpiredIs404 && !sec.expires.IsZero() && !sec.expires.After(time.Now())
}

// find returns the secret with the id in c.
func (s *Simulator) find(c call) (*secret, *apiError) {
	sec, ok := s.byID[c.secretID]
	if !ok {
		return nil, s.unknown("secret", c.secretID)
	}
	return sec, nil
}

// findReadable returns the secret with the id in c, unless it is hidden.
func (s *Simulator) findReadable(c call) (*secret, *apiError) {
	sec, err := s.find(c)
	if err != nil {
		return nil, err
	}
	if s.hidden(sec) {
		return nil, &apiError{status: http.StatusNotFound, code: "not_found", description: fmt.Sprintf("secret %s has expired", c.secretID)}
	}
	return sec, nil
}

func (s *Simulator) getSecret(c call) (any, *apiError) {
	sec, err := s.findReadable(c)
	if err != nil {
		return nil, err
	}
	got := s.secretJSON(sec, c.values)
	if s.behavior.GetOmitsVersions && !c.values {
		got.Versions = nil
	}
	return got, nil
}

var metadataFields = []string{"description", "expired_at", "integration_service_type", "integration_service_ids"}

func (s *Simulator) createSecret(c call) (any, *apiError) {
	fields, err := readFields(c.body, append([]string{"name", "value"}, metadataFields...)...)
	if err != nil {
		return nil, err
	}
	name, err := readString(fields, "name")
	if err != nil {
		return nil, err
	}
	value, err := readValue(fields)
	if err != nil {
		return nil, err
	}
	var metadata secret
	if err := s.setMetadata(&metadata, fields); err != nil {
		return nil, err
	}
	sec, err := s.create(name, value)
	if err != nil {
		return nil, err
	}
	sec.description, sec.expires = metadata.description, metadata.expires
	sec.serviceType, sec.serviceIDs = metadata.serviceType, metadata.serviceIDs
	return s.secretJSON(sec, false), nil
}

// create checks the name and value, and adds the secret.
func (s *Simulator) create(name string, value []byte) (*secret, *apiError) {
	sec, err := s.newSecret(name, value)
	if err != nil {
		return nil, err
	}
	at, _ := slices.BinarySearchFunc(s.list, sec, s.compareSecrets)
	s.list = slices.Insert(s.list, at, sec)
	return sec, nil
}

var (
	goodName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	badName  = regexp.MustCompile(`.*-......$`)
)

// newSecret makes a secret that is not in the list yet.
func (s *Simulator) newSecret(name string, value []byte) (*secret, *apiError) {
	if !goodName.MatchString(name) {
		return nil, badField("name", "name may have only letters, digits, _ and -")
	}
	if badName.MatchString(name) {
		return nil, badField("name", "name must not end in a hyphen followed by six characters")
	}
	if _, taken := s.byName[name]; taken {
		err := &apiError{status: http.StatusConflict, code: "conflict", description: fmt.Sprintf("secret %s already exists", name)}
		if s.behavior.DuplicateNameIs400 {
			err.status, err.code = http.StatusBadRequest, "bad_request"
		}
		return nil, err
	}
	sec := &secret{object: s.newObject(), name: name}
	if _, err := s.addVersion(sec, value); err != nil {
		return nil, err
	}
	s.byID[sec.id], s.byName[name] = sec, sec
	return sec, nil
}

func (s *Simulator) updateSecret(c call) (any, *apiError) {
	sec, err := s.find(c)
	if err != nil {
		return nil, err
	}
	fields, err := readFields(c.body, metadataFields...)
	if err != nil {
		return nil, err
	}
	changed := *sec
	if err := s.setMetadata(&changed, fields); err != nil {
		return nil, err
	}
	changed.updated = time.Now()
	*sec = changed
	return s.secretJSON(sec, false), nil
}

func (s *Simulator) deleteSecret(c call) (any, *apiError) {
	sec, err := s.find(c)
	if err != nil {
		return nil, err
	}
	s.remove(sec)
	return map[string]string{"message": fmt.Sprintf("secret_id %s successfully deleted", sec.id)}, nil
}

func (s *Simulator) remove(sec *secret) {
	at, _ := slices.BinarySearchFunc(s.list, sec, s.compareSecrets)
	s.list = slices.Delete(s.list, at, at+1)
	delete(s.byID, sec.id)
	delete(s.byName, sec.name)

	s.deleted = append(s.deleted, deleted{sec, time.Now()})
	s.deleted = slices.DeleteFunc(s.deleted, func(d deleted) bool { return time.Since(d.at) >= s.behavior.ListLag })
}

// readFields reads a JSON object that may have only the known fields.
func readFields(body []byte, known ...string) (map[string]json.RawMessage, *apiError) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return nil, badRequest("the request body must be a JSON object")
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, field) {
			return nil, badField(field, "%s is no field of this call", field)
		}
	}
	return fields, nil
}

// readString reads a field that must be there.
func readString(fields map[string]json.RawMessage, field string) (string, *apiError) {
	text, err := readOptional(fields, field)
	if err != nil {
		return "", err
	}
	if text == nil {
		return "", badField(field, "%s is required", field)
	}
	return *text, nil
}

// readOptional reads a field that may be missing or null.
func readOptional(fields map[string]json.RawMessage, field string) (text *string, err *apiError) {
	if raw, given := fields[field]; given && json.Unmarshal(raw, &text) != nil {
		return nil, badField(field, "%s must be a string", field)
	}
	return text, nil
}

// setMetadata sets the fields of a create or an update that are given.
func (s *Simulator) setMetadata(sec *secret, fields map[string]json.RawMessage) *apiError {
	description, err := readOptional(fields, "description")
	if err != nil {
		return err
	}
	expires, err := readOptional(fields, "expired_at")
	if err != nil {
		return err
	}
	_, descriptionGiven := fields["description"]
	_, expiresGiven := fields["expired_at"]
	nullClears, emptyClears := s.behavior.Clear != "empty", s.behavior.Clear != "null"

	switch {
	case !descriptionGiven:
	case description == nil:
		if nullClears {
			sec.description = ""
		}
	case *description != "" || emptyClears:
		sec.description = *description
	}

	switch {
	case !expiresGiven:
	case expires == nil:
		if nullClears {
			sec.expires = time.Time{}
		}
	case *expires == "" && emptyClears:
		sec.expires = time.Time{}
	default:
		t, err := time.Parse(time.RFC3339, *expires)
		if err != nil {
			return badField("expired_at", "expired_at must be an RFC 3339 time")
		}
		sec.expires = t
	}

	serviceType, err := readOptional(fields, "integration_service_type")
	if err != nil {
		return err
	}
	if _, given := fields["integration_service_type"]; given {
		switch {
		case serviceType == nil:
			sec.serviceType = ""
		case *serviceType == "abeja-platform-labs":
			sec.serviceType = *serviceType
		default:
			return badField("integration_service_type", "integration_service_type must be abeja-platform-labs")
		}
	}
	if raw, given := fields["integration_service_ids"]; given {
		var ids []string
		if json.Unmarshal(raw, &ids) != nil {
			return badField("integration_service_ids", "integration_service_ids must be a list of strings")
		}
		sec.serviceIDs = ids
	}
	return nil
}
