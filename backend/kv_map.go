package backend

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// KV v2 keeps a map where ABEJA keeps one value. A value that is a JSON object is that map; any
// other text is the map {"value": text}; what is not text is {"value": base64, "encoding": "base64"}.
// So every map that is written is read back as it was, what others store at ABEJA can be read, and
// what was read can be written back.

// decodeMap returns the map that a stored value stands for.
func decodeMap(value []byte) map[string]any {
	if m, _ := jsonObject(value); m != nil {
		return m
	}
	m := map[string]any{}
	encodeValue(m, value)
	return m
}

// maxDepth is that of the deepest map that Vault takes in a request.
const maxDepth = 299

// jsonObject returns the object that a value is, or nil. An object that Vault would change on its way is nil
// too, and so shown as text, which loses nothing; flaw then says what would change it.
func jsonObject(value []byte) (m map[string]any, flaw string) {
	if !bytes.HasPrefix(bytes.TrimLeft(value, " \t\r\n"), []byte("{")) || !utf8.Valid(value) || !json.Valid(value) {
		return nil, ""
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return nil, ""
	}
	members, depth, paired := scanJSON(value)
	switch {
	case members != countMembers(m):
		return nil, "a key twice"
	case !paired:
		return nil, "half of a surrogate pair, which no text can hold"
	case depth > maxDepth:
		return nil, "too many levels"
	case !carried(m):
		return nil, "a number that loses digits on its way through Vault"
	}
	return m, ""
}

// scanJSON finds in valid JSON what decoding it hides: how many members its objects have, those of the
// same key counted twice, how deep it is, and whether each surrogate has its other half.
func scanJSON(text []byte) (members, depth int, paired bool) {
	quoted, level := false, 0
	paired = true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\':
			if i++; text[i] != 'u' {
				break
			}
			first := hexRune(text[i+1:])
			i += len("XXXX")
			if !utf16.IsSurrogate(first) {
				break
			}
			if rest := text[i+1:]; bytes.HasPrefix(rest, []byte(`\u`)) && utf16.DecodeRune(first, hexRune(rest[2:])) != utf8.RuneError {
				i += len(`\uXXXX`)
			} else {
				paired = false
			}
		case quoted:
		case c == ':':
			members++
		case c == '{', c == '[':
			level++
			depth = max(depth, level)
		case c == '}', c == ']':
			level--
		}
	}
	return members, depth, paired
}

func hexRune(digits []byte) rune {
	r, _ := strconv.ParseUint(string(digits[:4]), 16, 16)
	return rune(r)
}

func countMembers(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for _, each := range v {
			n += 1 + countMembers(each)
		}
	case []any:
		for _, each := range v {
			n += countMembers(each)
		}
	}
	return n
}

// encodeMap returns the value to store for a map. It is refused when it is too large, or has a number of
// which Vault may have lost digits on the way here.
func encodeMap(m map[string]any) ([]byte, error) {
	value, isText := m["value"].(string)
	switch object, _ := jsonObject([]byte(value)); {
	case isText && len(m) == 1 && value != "" && object == nil:
		return checkedSize([]byte(value))
	case isText && len(m) == 2 && m["encoding"] == "base64":
		// Bytes, in just the form in which a read returns them.
		raw, _ := base64.StdEncoding.DecodeString(value)
		if !utf8.Valid(raw) && base64.StdEncoding.EncodeToString(raw) == value {
			return checkedSize(raw)
		}
	}
	return encodeObject(m)
}

func encodeObject(m map[string]any) ([]byte, error) {
	if !exact(m) {
		return nil, badRequest("data has a whole number beyond 2^53, which Vault does not pass exactly to a plugin: give it as a string")
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, badRequest("data cannot be stored as JSON")
	}
	return checkedSize(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// patchedMap returns the value to store for a stored one with a patch merged into it. The kind stays: an
// object is an object again, text is text, and into all else nothing can be merged.
func patchedMap(stored []byte, patch map[string]any) ([]byte, error) {
	object, flaw := jsonObject(stored)
	m := merged(decodeMap(stored), patch)
	switch {
	case flaw != "":
		return nil, badRequest("the secret holds a JSON object with %s, so nothing can be merged into it: read it at secrets/NAME, and write the whole secret there", flaw)
	case !utf8.Valid(stored):
		return nil, badRequest("the secret holds bytes that are not text, so nothing can be merged into them: write the whole secret")
	case sameMap(m)(stored):
		return stored, nil
	case object != nil:
		return encodeObject(m)
	}
	value, err := encodeMap(m)
	if object, _ := jsonObject(value); err == nil && object != nil {
		return nil, badRequest("the secret holds text, not a map, so a patch can only change 'value', to other text: to make it a map, write the whole secret")
	}
	return value, err
}

// sameMap returns a function that reports whether a stored value is read as the map m, in whatever form
// it is stored.
func sameMap(m map[string]any) func(stored []byte) bool {
	want := asVaultHas(m)
	return func(stored []byte) bool { return reflect.DeepEqual(want, asVaultHas(decodeMap(stored))) }
}

// asVaultHas returns the map with each number as it comes from Vault.
func asVaultHas(m map[string]any) (out map[string]any) {
	text, _ := json.Marshal(m)
	_ = json.Unmarshal(text, &out)
	return out
}

// exact reports whether all numbers of what Vault has decoded are sure to be those that were sent:
// between Vault and a plugin each number is a float64.
func exact(v any) bool {
	return everyNumber(v, func(n any) bool {
		f, ok := n.(float64)
		return !ok || math.Abs(f) < 1<<53
	})
}

// carried reports whether each number comes through Vault, and is exact when it is written back.
func carried(v any) bool {
	return everyNumber(v, func(n any) bool {
		literal, ok := n.(json.Number)
		return !ok || float64Holds(literal.String())
	})
}

func everyNumber(v any, ok func(any) bool) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, each := range v {
			if !everyNumber(each, ok) {
				return false
			}
		}
		return true
	case []any:
		for _, each := range v {
			if !everyNumber(each, ok) {
				return false
			}
		}
		return true
	}
	return ok(v)
}

// float64Holds reports whether a float64, written in as few digits as tell it from its neighbours, is
// the same number as the literal, and sure to be.
func float64Holds(literal string) bool {
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil || !exact(f) || len(literal) > 400 {
		return false
	}
	// A literal with a huge negative exponent would take as much memory to compare.
	if _, exponent, ok := strings.Cut(strings.ToLower(literal), "e"); ok {
		if n, err := strconv.Atoi(exponent); err != nil || n < -400 {
			return false
		}
	}
	short, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	exact, ok := new(big.Rat).SetString(literal)
	return ok && short.Cmp(exact) == 0
}
