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

// reader is filled from the JSON of an answer.
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

// record is how an answer holds a T; encoding/json fills it.
type record[T, R any] interface {
	*R
	// read decodes what can be understood of one that may be broken.
	read(raw []byte)
	// content is what the record tells. An error says that it cannot be used.
	content() (T, error)
}

// list is the records of a list. A second list of the same name replaces it: encoding/json would decode its
// records over those of the first, and leave their values where it has none.
type list[R any] []R

// UnmarshalJSON implements json.Unmarshaler.
func (l *list[R]) UnmarshalJSON(raw []byte) error {
	*l = nil
	return json.Unmarshal(raw, (*[]R)(l))
}

// apart decodes the records of a list one by one, so that one which is broken costs only itself.
func apart[T, R any, P record[T, R]](raws []json.RawMessage) []R {
	if raws == nil {
		return nil
	}
	records := make([]R, len(raws))
	for i := range raws {
		P(&records[i]).read(raws[i])
	}
	return records
}

// sorted tells those records that can be used from those that are odd.
func sorted[T, R any, P record[T, R]](records []R) (usable, odd []T) {
	if records == nil {
		return nil, nil
	}
	usable = make([]T, 0, len(records))
	for i := range records {
		if content, err := P(&records[i]).content(); err == nil {
			usable = append(usable, content)
		} else {
			odd = append(odd, content)
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
	if text, ok := unescaped(raw); ok { // what encoding/json does takes three times as long
		b.bytes, err = base64.StdEncoding.AppendDecode(nil, text)
	} else {
		err = json.Unmarshal(raw, &b.bytes)
	}
	if b.odd = err != nil; b.odd {
		b.bytes = nil
	}
	return nil
}

// unescaped is the text of a JSON string, if it has no escape, as ABEJA's times and values have none.
func unescaped(raw []byte) (text []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return nil, false
	}
	return raw[1 : len(raw)-1], true
}
