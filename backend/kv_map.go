package backend

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// KV v2 keeps a map where ABEJA keeps one value. A value that is a JSON object is that map; any
// other text is the map {"value": text}; what is no text is {"value": base64, "encoding": "base64"}.
// So every map that is written is read back as it was, and what others store at ABEJA can be read.

// decodeMap gives the map that a stored value stands for.
func decodeMap(value []byte) map[string]any {
	if m := jsonObject(value); m != nil {
		return m
	}
	m := map[string]any{}
	encodeValue(m, value)
	return m
}

// jsonObject gives the object that a value is, or nil. An object with a number that Vault cannot
// carry is taken for text, so that no digit of it is lost.
func jsonObject(value []byte) map[string]any {
	if !bytes.HasPrefix(bytes.TrimLeft(value, " \t\r\n"), []byte("{")) || !utf8.Valid(value) || !json.Valid(value) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil || !carried(m) {
		return nil
	}
	return m
}

// encodeMap gives the value to store for a map, or nil when the map has a number of which Vault
// has lost digits on the way here.
func encodeMap(m map[string]any) ([]byte, error) {
	if text, ok := m["value"].(string); ok && len(m) == 1 && text != "" && jsonObject([]byte(text)) == nil {
		return []byte(text), nil
	}
	if !exact(m) {
		return nil, badRequest("data has a whole number beyond 2^53, of which Vault keeps no exact digits on the way to a plugin: give it as a string")
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, badRequest("data cannot be stored as JSON")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// exact says whether all numbers of what Vault has decoded are sure to be those that were sent:
// between Vault and a plugin each number is a float64.
func exact(v any) bool {
	return everyNumber(v, func(n any) bool {
		f, ok := n.(float64)
		return !ok || math.Abs(f) < 1<<53
	})
}

// carried says whether a float64 holds the value of each number.
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

// float64Holds says whether a float64, written in as few digits as tell it from its neighbours, is
// the same number as the literal.
func float64Holds(literal string) bool {
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil || len(literal) > 400 {
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
