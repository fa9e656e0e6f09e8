package soak

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// marks are what every secret of a run is made of, and what is then looked for.
type marks struct {
	letters string // the same in every text encoding
	signs   string // other in each of them
	forms   map[string][]byte
}

func newMarks(random *rand.Rand) *marks {
	m := &marks{forms: map[string][]byte{}}
	alphabet := []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
	for range 20 {
		m.letters += string(alphabet[random.IntN(len(alphabet))])
	}
	signs := []byte("\"\\<>&%+/=?#;'`{}")
	random.Shuffle(len(signs), func(i, j int) { signs[i], signs[j] = signs[j], signs[i] })
	m.signs = string(signs)
	m.add("letters", m.letters)
	m.add("signs", m.signs)
	return m
}

// secret makes a secret that bears the marks at its beginning and at its end.
func (m *marks) secret(what string) string {
	return m.letters + m.signs + what + m.signs + m.letters
}

// add looks for a text too.
func (m *marks) add(what, text string) {
	for encoding, form := range encodings(text) {
		m.forms[what+" "+encoding] = []byte(form)
	}
}

// encodings are the ways in which a text may show up as part of a larger one.
func encodings(text string) map[string]string {
	withHTML, _ := json.Marshal(text)
	var withoutHTML bytes.Buffer
	e := json.NewEncoder(&withoutHTML)
	e.SetEscapeHTML(false)
	e.Encode(text)
	forms := map[string]string{
		"plain":        text,
		"JSON":         strings.Trim(string(withHTML), `"`),
		"JSON as is":   strings.Trim(strings.TrimSpace(withoutHTML.String()), `"`),
		"quoted by Go": strings.Trim(strconv.Quote(text), `"`),
		"URL query":    url.QueryEscape(text),
		"URL path":     url.PathEscape(text),
		"hex":          hex.EncodeToString([]byte(text)),
		"upper hex":    strings.ToUpper(hex.EncodeToString([]byte(text))),
	}
	// Base64 has three looks, by how many bytes come before; the characters that mix with what
	// comes before and after are left out.
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "URL base64": base64.RawURLEncoding} {
		for before := range 3 {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", before) + text))
			from, to := (before*8+5)/6, (before+len(text))*8/6
			forms[fmt.Sprintf("%s, %d before", name, before)] = encoded[from:to]
		}
	}
	return forms
}

// scan gives where and in which form a mark is found.
func (m *marks) scan(places map[string][]byte) (hits []string) {
	for _, place := range slices.Sorted(maps.Keys(places)) {
		for _, form := range slices.Sorted(maps.Keys(m.forms)) {
			if at := bytes.Index(places[place], m.forms[form]); at >= 0 {
				around := places[place][max(0, at-200):min(len(places[place]), at+100)]
				hits = append(hits, fmt.Sprintf("%s: %s: %q", place, form, around))
			}
		}
	}
	return hits
}

// files adds all files below a directory to places.
func files(t *testing.T, places map[string][]byte, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		places[path] = content
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
