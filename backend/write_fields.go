package backend

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/mitchellh/mapstructure"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// labs is the only integration service that ABEJA knows today.
const labs = "abeja-platform-labs"

// parseWrite checks the fields of a write, before anything is sent to ABEJA. A field that is null
// is cleared, where it can be.
func parseWrite(d *framework.FieldData) (store.Update, error) {
	var u store.Update
	var err error
	if u.Value, err = decodeValue(d); err != nil {
		return u, err
	}
	if _, given := d.Raw["description"]; given {
		text := d.Get("description").(string)
		if !utf8.ValidString(text) || len(text) > maxDescription {
			return u, badRequest("description must be UTF-8 text of at most %d bytes", maxDescription)
		}
		u.Description = &text
	}
	if _, given := d.Raw["expired_at"]; given {
		if u.ExpiredAt, err = parseExpiry(d.Get("expired_at").(string)); err != nil {
			return u, err
		}
	}
	if _, given := d.Raw["integration_service_type"]; given {
		service := d.Get("integration_service_type").(string)
		if service != labs {
			return u, badRequest("integration_service_type must be '%s', the only service that ABEJA knows", labs)
		}
		u.IntegrationServiceType = &service
	}
	if _, given := d.Raw["integration_service_ids"]; given {
		ids := d.Get("integration_service_ids").([]string)
		for _, id := range ids {
			if !client.ValidID(id) {
				return u, badRequest("integration_service_ids must be ids of labs apps: letters, digits, '_' and '-'")
			}
		}
		u.IntegrationServiceIDs = &ids
	}
	u.CAS, err = givenCAS(d)
	return u, err
}

// givenCAS is what the current version must be for a write to happen, or nil. KV version 2 has it
// among its options.
func givenCAS(d *framework.FieldData) (*int, error) {
	if d.Schema["options"] != nil {
		options, _ := d.Get("options").(map[string]any)
		raw, given := options["cas"]
		if !given {
			return nil, nil
		}
		cas := new(int)
		if err := mapstructure.WeakDecode(raw, cas); err != nil {
			return nil, badRequest("error parsing check-and-set parameter")
		}
		return cas, nil
	}
	if d.Schema["cas"] == nil || d.Raw["cas"] == nil {
		return nil, nil
	}
	cas := d.Get("cas").(int)
	if cas < 0 {
		return nil, badRequest("cas must be the number of the current version, or 0 if there must be no such secret")
	}
	return &cas, nil
}

// maxDescription keeps a description out of the size of a value; ABEJA's own limit is unknown.
const maxDescription = 10_000

// decodeValue returns the bytes that are to be stored, or nil when no value is given.
func decodeValue(d *framework.FieldData) ([]byte, error) {
	encoding, encoded := d.Get("encoding").(string), false
	switch encoding {
	case "":
	case "base64":
		encoded = true
	default:
		return nil, badRequest("encoding must be 'base64', or left out for text")
	}
	raw, given := d.Raw["value"]
	if !given {
		if encoded {
			return nil, badRequest("encoding needs a value")
		}
		return nil, nil
	}
	text, isText := raw.(string)
	if raw == nil || isText && text == "" {
		return nil, badRequest("value must not be empty: ABEJA stores no empty values; to remove the secret delete it")
	}
	if !isText { // a number, which has become a float64 on its way here: 1.10 is 1.1
		return nil, badRequest("value must be text: give a number in quotes, since Vault does not keep all its digits")
	}
	if !encoded {
		if !utf8.ValidString(text) {
			return nil, badRequest("value must be UTF-8 text: give other bytes in base64, with encoding=base64")
		}
		return checkedSize([]byte(text))
	}
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(value) == 0 {
		return nil, badRequest("value must be standard base64 of at least one byte, since encoding=base64 is given")
	}
	return checkedSize(value)
}

// maxValue is far beyond what AWS Secrets Manager holds, where ABEJA keeps values. ABEJA's own limit is unknown.
const maxValue = 1 << 20

func checkedSize(value []byte) ([]byte, error) {
	if len(value) > maxValue {
		return nil, badRequest("the value must have at most %d bytes (1 MiB), and ABEJA may hold less", maxValue)
	}
	return value, nil
}

// warnReplaced warns of a value or map with U+FFFD. The vault program and other clients put it in place
// of each byte that is not UTF-8, before they send anything: what the bytes were cannot be known here.
func warnReplaced(resp *logical.Response, written any) {
	if text, err := json.Marshal(written); resp != nil && err == nil && bytes.Contains(text, []byte("\uFFFD")) {
		resp.AddWarning("What was written holds the character U+FFFD, which clients put in place of bytes that are not UTF-8 text. " +
			"If it came from a file of bytes, they are not stored: write the file in base64, with encoding=base64.")
	}
}

// encodeValue puts a value into an answer, in base64 when it is not UTF-8 text.
func encodeValue(data map[string]any, value []byte) {
	if utf8.Valid(value) {
		data["value"] = string(value)
		return
	}
	data["value"] = base64.StdEncoding.EncodeToString(value)
	data["encoding"] = "base64"
}

// parseExpiry returns the zero time for empty text, which clears the expiry.
func parseExpiry(text string) (*time.Time, error) {
	if text == "" {
		return new(time.Time), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1970 || t.UTC().Year() > 9999 {
		return nil, badRequest("expired_at must be a time as RFC 3339 such as 2030-01-31T00:00:00Z, or empty for none")
	}
	return &t, nil
}

func versionNumber(text string) (store.Pick, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	// Each version has one path, else a policy about "3" could be passed by with "03".
	if err != nil || n < 1 || text != strconv.FormatInt(n, 10) {
		return 0, badRequest("version must be a whole number, 1 or more: list the secret's versions to see what exists")
	}
	return store.Pick(n), nil
}

var reservedName = regexp.MustCompile(`.*-......$`)

// checkNewName refuses names, with the mount's prefix, that ABEJA's rule forbids for new secrets.
func checkNewName(name string) error {
	if reservedName.MatchString(name) {
		return badRequest("ABEJA refuses names that end in a hyphen and six more characters: choose another, for example with '_' instead of the hyphen")
	}
	return nil
}
