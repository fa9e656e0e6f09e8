package vaulttest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Encodings are the ways in which a text may be repeated, by name.
func Encodings(text string) map[string]string {
	withHTML, _ := json.Marshal(text)
	var withoutHTML bytes.Buffer
	e := json.NewEncoder(&withoutHTML)
	e.SetEscapeHTML(false)
	e.Encode(text)
	inHex := hex.EncodeToString([]byte(text))
	return map[string]string{
		"plain":        text,
		"JSON":         string(withHTML),
		"JSON as is":   strings.TrimSpace(withoutHTML.String()),
		"quoted by Go": strconv.Quote(text),
		"URL query":    url.QueryEscape(text),
		"URL path":     url.PathEscape(text),
		"base64":       base64.StdEncoding.EncodeToString([]byte(text)),
		"URL base64":   base64.RawURLEncoding.EncodeToString([]byte(text)),
		"hex":          inHex,
		"upper hex":    strings.ToUpper(inHex),
	}
}

// Forms are the ways in which a text may show up as a part of a larger one, by name.
func Forms(text string) map[string]string {
	forms := Encodings(text)
	for _, name := range []string{"JSON", "JSON as is", "quoted by Go"} {
		forms[name] = forms[name][1 : len(forms[name])-1]
	}
	// Base64 has three looks, by how many bytes come before; the characters that mix with what
	// comes before and after are left out.
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "URL base64": base64.RawURLEncoding} {
		delete(forms, name)
		for before := range 3 {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", before) + text))
			from, to := (before*8+5)/6, (before+len(text))*8/6
			forms[fmt.Sprintf("%s, %d before", name, before)] = encoded[from:to]
		}
	}
	return forms
}

// Shows returns the names of the forms in which a text shows one of the secrets, never what it shows.
func Shows(text string, secrets ...string) (shown []string) {
	for _, secret := range secrets {
		for name, form := range Forms(secret) {
			if strings.Contains(text, form) {
				shown = append(shown, name)
			}
		}
	}
	slices.Sort(shown)
	return slices.Compact(shown)
}

// CheckLog returns what no test should cause a log to hold: these credentials, races and panics. It also
// returns the log's last warnings and errors, for a test that has failed for another reason.
func CheckLog(file string, credentials ...string) (wrong []string, troubles string) {
	log, _ := os.ReadFile(file) // none, if nothing was started
	for _, form := range Shows(string(log), credentials...) {
		wrong = append(wrong, "a credential of ABEJA, as "+form)
	}
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte("DATA RACE")) || bytes.Contains(line, []byte("panic")) {
			wrong = append(wrong, string(line))
		}
		if bytes.Contains(line, []byte("[WARN]")) || bytes.Contains(line, []byte("[ERROR]")) {
			troubles += string(line)
		}
	}
	return wrong, troubles[max(0, len(troubles)-5_000):]
}
