package client

import (
	"encoding/json"
	"errors"
)

// asked is what an answer is held against.
type asked struct {
	organizationID string
	ReadOptions
}

// reader is filled from the JSON of an answer or of one of its records. An error says that it is not
// what was asked for, or cannot be used: it still has all that could be understood. The error is never
// one of encoding/json, whose text may quote a value.
type reader interface {
	read(a *asked, raw []byte) error
}

// foreignError is a record that must not be in the answer at all: whoever sends it is not believed
// in anything else.
type foreignError string

// Error implements error.
func (e foreignError) Error() string { return string(e) }

const errOtherSecret = foreignError("the answer holds a version of another secret")

// readEach reads the records of a list one by one, so that one that cannot be understood costs only
// itself.
func readEach[T any, P interface {
	*T
	reader
}](a *asked, raws []json.RawMessage) (usable, odd []T, err error) {
	if raws == nil {
		return nil, nil, nil
	}
	usable = make([]T, 0, len(raws))
	for _, raw := range raws {
		var record T
		switch err := P(&record).read(a, raw); {
		case err == nil:
			usable = append(usable, record)
		case errors.As(err, new(foreignError)):
			return nil, nil, err
		default:
			odd = append(odd, record)
		}
	}
	return usable, odd, nil
}

// lenientTime is a time whose record can be used without it.
type lenientTime struct {
	Time
	odd bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *lenientTime) UnmarshalJSON(raw []byte) error {
	t.Time = Time{}
	t.odd = t.Time.UnmarshalJSON(raw) != nil
	return nil
}

// lenientBytes is a value whose record can be used without it.
type lenientBytes struct {
	bytes []byte
	odd   bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *lenientBytes) UnmarshalJSON(raw []byte) error {
	if b.odd = json.Unmarshal(raw, &b.bytes) != nil; b.odd {
		b.bytes = nil
	}
	return nil
}
