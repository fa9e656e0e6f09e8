package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

// asked is what an answer is held against.
type asked struct {
	organizationID string
	ReadOptions
}

// reader is filled from the JSON of an answer or of one of its records.
type reader interface {
	// read decodes what can be understood. An error says that it is not what was asked for, or cannot be
	// used. It is never one of encoding/json, whose text may quote a value.
	read(raw []byte) error
	// accept holds it against what was asked, whatever could be understood of it.
	accept(a *asked) error
}

// foreignError is a record that must not be in the answer at all: whoever sends it is not believed
// in anything else.
type foreignError string

// Error implements error.
func (e foreignError) Error() string { return string(e) }

const errOtherSecret = foreignError("the answer holds a version of another secret")

// record is one of a list. One that cannot be understood costs only itself: in encoding/json's eyes none is
// broken.
type record[T any, P interface {
	*T
	reader
}] struct {
	content T
	err     error
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *record[T, P]) UnmarshalJSON(raw []byte) error {
	r.err = P(&r.content).read(raw)
	return nil
}

// sorted tells those records that can be used from those that are odd.
func sorted[T any, P interface {
	*T
	reader
}](all []record[T, P]) (usable, odd []T) {
	if all == nil {
		return nil, nil
	}
	usable = make([]T, 0, len(all))
	for i := range all {
		if all[i].err == nil {
			usable = append(usable, all[i].content)
		} else {
			odd = append(odd, all[i].content)
		}
	}
	return usable, odd
}

// acceptEach accepts the records of lists, or says why one of them is not to be believed.
func acceptEach[T any, P interface {
	*T
	reader
}](a *asked, lists ...[]T) error {
	for _, list := range lists {
		for i := range list {
			if err := P(&list[i]).accept(a); err != nil {
				return err
			}
		}
	}
	return nil
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
	var err error
	if len(raw) > 1 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 { // as all are; what encoding/json does takes three times as long
		b.bytes, err = base64.StdEncoding.AppendDecode(nil, raw[1:len(raw)-1])
	} else {
		err = json.Unmarshal(raw, &b.bytes)
	}
	if b.odd = err != nil; b.odd {
		b.bytes = nil
	}
	return nil
}
