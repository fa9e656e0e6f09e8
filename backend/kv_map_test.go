package backend

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// carry does what Vault does with a map between a client and a plugin: every number is a float64.
func carry(t require.TestingT, m map[string]any) map[string]any {
	wire, err := json.Marshal(m)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(wire, &out))
	return out
}

// jsonLike are texts that look like what a map is stored as, or almost.
var jsonLike = []string{
	"", " ", "{}", " {} ", "\ufeff{}", "{", "}", "[]", "null", "true", "12", `"text"`, `{"value":"text"}`, `{"value":""}`,
	`{"a":1}`, `{"a":1}}`, `{"a":1}]`, `{"a":1} {"b":2}`, `{"a":1}x`, `{"a":1,}`, `{'a':1}`, `{"a":1,"a":2}`,
	`{"a":0.1}`, `{"a":1e400}`, `{"a":1e-400}`, `{"a":9007199254740992}`, `{"a":9007199254740993}`, `{"a":-0}`,
	`{"a":[{"b":12345678901234567890}]}`, `{"value":"aGlkZGVu","encoding":"base64"}`, "\x00", "<&>\u2028",
	`{"a":{"b":1},"a":{"b":2}}`, `{"a":1,"\u0061":1}`, `{"a":"\ud800"}`, `{"\udc00\ud800":1}`, `{"a":"\ud83d\ude00\\ud800:"}`,
	`{"value":"/w==","encoding":"base64"}`, "/w==", "{ \"b\" : 1.50e0,\n\"a\":\"\\u003c\" }",
}

func jsonLikeText() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom(jsonLike),
		rapid.String(),
		rapid.Custom(func(t *rapid.T) string {
			text, err := json.Marshal(vaultMap(2).Draw(t, "map"))
			require.NoError(t, err)
			return string(text)
		}),
	)
}

// vaultMap is any map that Vault can hand to a plugin, with numbers that are sure to be exact.
func vaultMap(depth int) *rapid.Generator[map[string]any] {
	keys := rapid.OneOf(rapid.SampledFrom([]string{"value", "encoding", "a"}), rapid.String())
	return rapid.OneOf(rapid.MapOfN(keys, vaultValue(depth), 0, 4), bytesMap())
}

// bytesMap is like the map that bytes are shown as: its base64 may be that of text, or none.
func bytesMap() *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		value := base64.StdEncoding.EncodeToString(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		value += rapid.SampledFrom([]string{"", "", "\n", "=", "x"}).Draw(t, "more")
		return map[string]any{"value": value, "encoding": "base64"}
	})
}

func vaultValue(depth int) *rapid.Generator[any] {
	kinds := []*rapid.Generator[any]{
		rapid.Just[any](nil),
		rapid.Bool().AsAny(),
		rapid.String().AsAny(),
		rapid.SampledFrom(jsonLike).AsAny(),
		rapid.Float64Range(-1<<53+1, 1<<53-1).AsAny(),
		rapid.Map(rapid.Int64Range(-1<<53+1, 1<<53-1), func(n int64) any { return float64(n) }),
	}
	if depth > 0 {
		kinds = append(kinds,
			rapid.Deferred(func() *rapid.Generator[any] { return vaultMap(depth - 1).AsAny() }),
			rapid.Deferred(func() *rapid.Generator[any] { return rapid.SliceOfN(vaultValue(depth-1), 0, 3).AsAny() }),
		)
	}
	return rapid.OneOf(kinds...)
}

func TestEveryMapIsReadBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := vaultMap(3).Draw(t, "map")
		stored, err := encodeMap(m)
		require.NoError(t, err)
		require.NotEmpty(t, stored, "ABEJA stores no empty value")
		require.Equal(t, m, carry(t, decodeMap(stored)))
		require.True(t, sameMap(m)(stored))
		require.True(t, utf8.Valid(stored) || m["encoding"] == "base64" && len(m) == 2, "bytes are stored for the map that stands for them alone")
	})
}

func TestEveryMapOfJustAValueIsReadBackAndStoredAsThatTextWhereItCanBe(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := jsonLikeText().Draw(t, "text")
		m := map[string]any{"value": text}
		stored, err := encodeMap(m)
		require.NoError(t, err)
		require.Equal(t, m, carry(t, decodeMap(stored)))

		var object map[string]any
		if text != "" && json.Unmarshal([]byte(text), &object) != nil {
			require.Equal(t, text, string(stored))
		}
	})
}

func TestWhatAMapIsStoredAs(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]map[string]any{
		"hidden":                                 {"value": "hidden"},
		`"a"`:                                    {"value": `"a"`},
		"[1]":                                    {"value": "[1]"},
		`{"a":1}}`:                               {"value": `{"a":1}}`},
		`{"a":1e999}`:                            {"value": `{"a":1e999}`},
		`{"value":"{}"}`:                         {"value": "{}"},
		`{"value":""}`:                           {"value": ""},
		`{"value":null}`:                         {"value": nil},
		`{"value":5}`:                            {"value": 5.0},
		`{}`:                                     {},
		`{"a":"<&>","b":[1,{}]}`:                 {"b": []any{1.0, map[string]any{}}, "a": "<&>"},
		`{"a":1,"value":"x"}`:                    {"value": "x", "a": 1.0},
		`{"n":9007199254740991}`:                 {"n": 1<<53 - 1.0},
		`{"n":0.1}`:                              {"n": 0.1},
		"\xff\x00":                               {"value": "/wA=", "encoding": "base64"},
		`{"encoding":"base64","value":"YQ=="}`:   {"value": "YQ==", "encoding": "base64"}, // of text
		`{"encoding":"base64","value":"/wA"}`:    {"value": "/wA", "encoding": "base64"},
		`{"encoding":"base64","value":"/wB="}`:   {"value": "/wB=", "encoding": "base64"}, // not read back so
		`{"encoding":"base64","value":"/wA=\n"}`: {"value": "/wA=\n", "encoding": "base64"},
		`{"encoding":"Base64","value":"/wA="}`:   {"value": "/wA=", "encoding": "Base64"},
		`{"a":1,"encoding":"base64","value":"/wA="}`: {"value": "/wA=", "encoding": "base64", "a": 1.0},
		`{"encoding":"base64","value":[1]}`:          {"value": []any{1.0}, "encoding": "base64"},
		`{"n":12345678901234567890}`:                 {"value": `{"n":12345678901234567890}`},
	} {
		stored, err := encodeMap(m)
		require.NoError(t, err)
		require.Equal(t, want, string(stored))
	}
}

func TestAMapIsStoredUpToTheLargestValue(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", maxValue)
	for _, m := range []map[string]any{
		{"value": large}, {"a": large[len(`{"a":""}`):]}, {"value": base64.StdEncoding.EncodeToString([]byte("\xff" + large[1:])), "encoding": "base64"},
	} {
		stored, err := encodeMap(m)
		require.NoError(t, err)
		require.Len(t, stored, maxValue)
	}
}

func TestANumberThatMayHaveLostDigitsIsRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(
			rapid.SampledFrom([]float64{1 << 53, -1 << 53, 1e300, math.MaxFloat64}),
			rapid.Float64Range(1<<53, math.MaxFloat64), rapid.Float64Range(-math.MaxFloat64, -1<<53),
		).Draw(t, "number")
		m := vaultMap(1).Draw(t, "map")
		m["n"] = rapid.SampledFrom([]any{n, []any{n}, map[string]any{"deep": []any{nil, n}}}).Draw(t, "where")
		_, err := encodeMap(m)
		var coded logical.HTTPCodedError
		require.True(t, errors.As(err, &coded))
		require.Equal(t, 400, coded.Code())
		require.ErrorContains(t, err, "2^53")
	})
}

func TestWhatAStoredValueIsReadAs(t *testing.T) {
	t.Parallel()
	for stored, want := range map[string]map[string]any{
		"text":                                 {"value": "text"},
		"日本語":                                  {"value": "日本語"},
		"{}":                                   {},
		" \r\n\t{\"a\":":                       {"value": " \r\n\t{\"a\":"},
		" \r\n\t{\"a\": [1, 2.50, null]}\n":    {"a": []any{1.0, 2.5, nil}},
		`{"value":"x"}`:                        {"value": "x"},
		`{"a":1}}`:                             {"value": `{"a":1}}`},
		`{"a":1}]`:                             {"value": `{"a":1}]`},
		`{"a":1} {}`:                           {"value": `{"a":1} {}`},
		`{"a":1} x`:                            {"value": `{"a":1} x`},
		"[1]":                                  {"value": "[1]"},
		"null":                                 {"value": "null"},
		"\xff\x00":                             {"value": "/wA=", "encoding": "base64"},
		"{\"a\":\"\xff\"}":                     {"value": base64.StdEncoding.EncodeToString([]byte("{\"a\":\"\xff\"}")), "encoding": "base64"},
		`{"n":9007199254740991}`:               {"n": float64(1<<53 - 1)},
		`{"n":9007199254740992}`:               {"value": `{"n":9007199254740992}`}, // exact, but not sure to be when it is written back
		`{"n":9007199254740993}`:               {"value": `{"n":9007199254740993}`},
		`{"n":[{"m":0.10000000000000000555}]}`: {"value": `{"n":[{"m":0.10000000000000000555}]}`},
		`{"n":1e400}`:                          {"value": `{"n":1e400}`},
		`{"n":1e-400}`:                         {"value": `{"n":1e-400}`},
		`{"n":1e99999999999999999999}`:         {"value": `{"n":1e99999999999999999999}`},
		`{"n":1e22}`:                           {"value": `{"n":1e22}`},
		`{"n":1e5, "m":-1.50e-7}`:              {"n": 1e5, "m": -1.5e-7},
		`{"a":1,"a":1}`:                        {"value": `{"a":1,"a":1}`},
		`{"a":1,"\u0061":2}`:                   {"value": `{"a":1,"\u0061":2}`},
		`{"b":[{"a":{"c":1},"a":{"d":2}}]}`:    {"value": `{"b":[{"a":{"c":1},"a":{"d":2}}]}`},
		`{"a":{"a":1},"b":{"a":":\":"}}`:       {"a": map[string]any{"a": 1.0}, "b": map[string]any{"a": `:":`}},
		`{"a":"\ud800"}`:                       {"value": `{"a":"\ud800"}`},
		`{"\udc00":1}`:                         {"value": `{"\udc00":1}`},
		`{"a":["\ud800\ud800\udc00"]}`:         {"value": `{"a":["\ud800\ud800\udc00"]}`},
		`{"a":"\ud83d\ude00 \\ud800 \ufffd"}`:  {"a": "\U0001f600 \\ud800 \ufffd"},
		`{"n":1` + strings.Repeat("0", 500) + `}`:   {"value": `{"n":1` + strings.Repeat("0", 500) + `}`},
		`{"n":0.` + strings.Repeat("0", 500) + `1}`: {"value": `{"n":0.` + strings.Repeat("0", 500) + `1}`},
	} {
		require.Equal(t, want, carry(t, decodeMap([]byte(stored))), stored)
	}
}

func TestAStoredNumberIsShownWithAllItsDigitsOrAsText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		literal := rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?`).Draw(t, "number")
		stored := `{"n":` + literal + `}`
		shown := carry(t, decodeMap([]byte(stored)))
		if text, ok := shown["value"]; ok {
			require.Equal(t, map[string]any{"value": stored}, map[string]any{"value": text})
			return
		}
		seen, err := json.Marshal(shown["n"])
		require.NoError(t, err)
		want, ok := new(big.Rat).SetString(literal)
		require.True(t, ok)
		got, ok := new(big.Rat).SetString(string(seen))
		require.True(t, ok)
		require.Zero(t, want.Cmp(got), "%s is shown for %s", seen, literal)
	})
}

func FuzzMap(f *testing.F) {
	for _, seed := range jsonLike {
		f.Add([]byte(seed))
	}
	f.Add([]byte("\xff\xfe"))
	f.Add([]byte(strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)))
	f.Add([]byte(`{"n":0e-99999999999}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		m := decodeMap(stored)
		switch {
		case !utf8.Valid(stored):
			require.Equal(t, map[string]any{"value": base64.StdEncoding.EncodeToString(stored), "encoding": "base64"}, m)
		case m["value"] == string(stored):
			require.Len(t, m, 1)
		default:
			require.True(t, json.Valid(stored), "an object is shown for what is none")
		}
		shown := carry(t, m)
		again, err := encodeMap(shown)
		require.NoError(t, err, "what was read can be written")
		require.Equal(t, shown, carry(t, decodeMap(again)))
		require.True(t, sameMap(shown)(stored), "what was read is known to be what is stored")
		if (m["value"] == string(stored) || !utf8.Valid(stored)) && len(stored) > 0 {
			require.Equal(t, string(stored), string(again), "text and bytes stay as they are")
		}
	})
}
