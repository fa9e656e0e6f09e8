package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
)

// Time is a point in time of the API, or none when it is zero: ABEJA writes RFC 3339 with "Z" or
// an offset, and null where there is none. An empty string is read as none too, since it is
// unknown what ABEJA keeps of an expiry that was cleared.
type Time struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(raw []byte) error {
	if bytes.Equal(raw, []byte("null")) || bytes.Equal(raw, []byte(`""`)) {
		*t = Time{}
		return nil
	}
	text, ok := unescaped(raw)
	if !ok {
		var slow string
		if err := json.Unmarshal(raw, &slow); err != nil {
			return err
		}
		text = []byte(slow)
	}
	parsed, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return errors.New("a time is not RFC 3339")
	}
	t.Time = parsed.UTC()
	return nil
}
