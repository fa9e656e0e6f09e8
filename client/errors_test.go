package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

var kinds = []error{ErrInvalid, ErrUnauthorized, ErrNotFound, ErrConflict, ErrRateLimited, ErrTimeout, ErrUnavailable, ErrBadAnswer, ErrLarge}

// requireKind wants err to be of one kind and of no other.
func requireKind(t testing.TB, want, err error, about ...any) {
	t.Helper()
	for _, kind := range kinds {
		require.Equal(t, kind == want, errors.Is(err, kind), "%v: %v %v", err, kind, about)
	}
}

func TestEachStatusHasItsKindOfError(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{
		302: ErrBadAnswer,
		400: ErrInvalid, 401: ErrUnauthorized, 403: ErrUnauthorized, 404: ErrNotFound, 405: ErrInvalid, 409: ErrConflict,
		418: ErrInvalid, 422: ErrInvalid, 429: ErrRateLimited,
		500: ErrUnavailable, 501: ErrUnavailable, 502: ErrUnavailable, 503: ErrUnavailable, 504: ErrUnavailable, 520: ErrUnavailable,
	} {
		for _, x := range exchanges() {
			err := x.call(t.Context(), newClient(t, always(status, `{"error":"code","error_description":"words","error_detail":[1]}`)))
			requireKind(t, want, err, status)
			e := asError(t, err)
			require.Equal(t, x.op, e.Op)
			require.Equal(t, status, e.Status)
			if status >= 400 {
				require.Equal(t, "code", e.Code)
				require.Equal(t, "words", e.Description)
			}
			require.Equal(t, status < 400 || status >= 500, e.OutcomeUnknown(), status)
		}
	}
}

func TestAnErrorAnswerNeedsNoPartOfTheDocumentedBody(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		``:                             "abeja: get secret: status 404 Not Found",
		`{}`:                           "abeja: get secret: status 404 Not Found",
		`null`:                         "abeja: get secret: status 404 Not Found",
		`{"error":"gone"}`:             "abeja: get secret: status 404 Not Found",
		`{"error_description":null}`:   "abeja: get secret: status 404 Not Found",
		`{"error_description":[1]}`:    "abeja: get secret: status 404 Not Found",
		`<html>Not here</html>`:        "abeja: get secret: status 404 Not Found",
		`{"error_description":"gone"}`: "abeja: get secret: status 404: gone",
	} {
		err := callOf(OpGetSecret)(t.Context(), newClient(t, always(404, body)))
		require.EqualError(t, err, want)
		requireKind(t, ErrNotFound, err)
	}
}

func TestAnAnswerOfSuccessMustBeTheDocumentedJSON(t *testing.T) {
	t.Parallel()
	for _, x := range exchanges() {
		for _, body := range []string{"", " ", "<html>Please log in</html>", x.answer[:len(x.answer)/2], x.answer + "}", `"text"`, `[1]`, `7`, "\xff\xfe"} {
			s := always(200, body)
			err := x.call(t.Context(), newClient(t, s, retries(2)))
			requireKind(t, ErrBadAnswer, err, x.op, body)
			require.ErrorContains(t, err, "the answer is not the documented JSON")
			require.True(t, strings.HasSuffix(err.Error(), "documented JSON"), "and no more: what came may hold a value")
			require.True(t, asError(t, err).OutcomeUnknown())
			require.Len(t, s.requests, 1, "the call has reached ABEJA: it is not sent again")
		}
	}
}

func TestFaultsOnTheWayAreTold(t *testing.T) {
	t.Parallel()
	for _, example := range []struct {
		fault   simulator.Fault
		kind    error
		unknown bool
	}{
		{simulator.Fault{Kind: simulator.FaultCut, AfterActing: true}, ErrUnavailable, true},
		{simulator.Fault{Kind: simulator.FaultCut}, ErrUnavailable, true},
		{simulator.Fault{Kind: simulator.FaultTruncate}, ErrUnavailable, true},
		{simulator.Fault{Kind: simulator.FaultHTML}, ErrBadAnswer, true},
		{simulator.Fault{Kind: simulator.FaultHTML, Status: 502}, ErrUnavailable, true},
		{simulator.Fault{Kind: simulator.FaultEmpty, AfterActing: true}, ErrBadAnswer, true},
		{simulator.Fault{Kind: simulator.FaultHuge}, ErrBadAnswer, true},
		{simulator.Fault{Kind: simulator.FaultRedirect, Body: "https://elsewhere.example/"}, ErrBadAnswer, true},
		{simulator.Fault{Kind: simulator.FaultBody, Body: `{}`}, ErrBadAnswer, true},
		{simulator.Fault{Kind: simulator.FaultStatus, Status: 422}, ErrInvalid, false},
	} {
		sim := simulator.New(simulator.Options{})
		sim.AddFault(example.fault)
		err := callOf(OpCreateSecret)(t.Context(), newClient(t, sim.Transport(), retries(3)))
		requireKind(t, example.kind, err, example.fault)
		require.Equal(t, example.unknown, asError(t, err).OutcomeUnknown(), example.fault)
		require.Equal(t, 1, sim.Count(), example.fault)
	}
}

func TestACallThatReachedNobodyDidNothing(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	c := newClient(t, nil, func(cfg *Config) { cfg.BaseURL = "http://" + closed.Addr().String() })
	lost := newClient(t, failing(&net.OpError{Op: "read", Err: errRST}))
	for _, x := range exchanges() {
		err := x.call(t.Context(), c)
		requireKind(t, ErrUnavailable, err)
		require.ErrorContains(t, err, "connection refused")
		require.False(t, asError(t, err).OutcomeUnknown())

		err = x.call(t.Context(), lost)
		requireKind(t, ErrUnavailable, err)
		require.ErrorContains(t, err, "read: connection reset by peer")
		require.True(t, asError(t, err).OutcomeUnknown(), "a connection that is lost may have carried the call")
	}
}

func TestARefusalDoesNotHideWhatAnEarlierTryMayHaveDone(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for name, example := range map[string]struct {
		first, last any // a status or an error
		unknown     bool
	}{
		"deleted, then not found":    {503, 404, true},
		"cut, then not found":        {errRST, 404, true},
		"cut, then refused":          {errRST, refused, true},
		"over the limit, then not":   {429, 404, false},
		"refused, then not found":    {refused, 404, false},
		"refused, then refused":      {refused, refused, false},
		"over the limit, then taken": {429, 500, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				for _, op := range []Op{OpUpdateSecret, OpDeleteSecret, OpUpdateVersion, OpDeleteVersion} {
					s := &server{answer: func(n int, _ *http.Request) (*http.Response, error) {
						end := example.first
						if n > 1 {
							end = example.last
						}
						if status, ok := end.(int); ok {
							return reply(status, ""), nil
						}
						return nil, end.(error)
					}}
					err := callOf(op)(t.Context(), newClient(t, s, retries(1)))
					require.Len(t, s.requests, 2)
					require.Equal(t, example.unknown, asError(t, err).OutcomeUnknown(), op)
				}
			})
		})
	}
}

func TestAnEndlessAnswerIsReadNoFurtherThanItsBound(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{200: ErrBadAnswer, 400: ErrBadAnswer, 503: ErrUnavailable} {
		read := 0
		s := &server{answer: func(int, *http.Request) (*http.Response, error) {
			resp := reply(status, "")
			resp.Body = io.NopCloser(readerFunc(func(p []byte) (int, error) {
				for i := range p {
					p[i] = ' '
				}
				read += len(p)
				return len(p), nil
			}))
			return resp, nil
		}}
		c := newClient(t, s)
		if status != 503 {
			c = newClient(t, s, retries(2)) // trying again cannot help
		}
		requireKind(t, want, callOf(OpGetSecret)(t.Context(), c), status)
		require.LessOrEqual(t, read, maxAnswer+1)
		require.Len(t, s.requests, 1)
	}
}

func TestAnAnswerMayBeAsLargeAsItsBound(t *testing.T) {
	t.Parallel()
	padded := secretJSON + strings.Repeat(" ", maxAnswer-len(secretJSON))
	require.NoError(t, callOf(OpGetSecret)(t.Context(), newClient(t, always(200, padded))))
	requireKind(t, ErrBadAnswer, callOf(OpGetSecret)(t.Context(), newClient(t, always(200, padded+" "))))
}

func TestAnAnswerOfManyPartsIsNotDecoded(t *testing.T) {
	t.Parallel()
	commas := strings.Repeat(",", maxParts)
	for name, example := range map[string]struct {
		parts string
		want  error
	}{
		"objects":           {strings.Repeat("{},", maxParts) + "{}", ErrBadAnswer},
		"strings":           {strings.Repeat(`"",`, maxParts) + `""`, ErrBadAnswer},
		"commas in a value": {`"\\", "\"` + commas + `"`, nil},
	} {
		s := always(200, secretJSON[:len(secretJSON)-1]+`,"properties":[`+example.parts+`]}`)
		err := callOf(OpGetSecret)(t.Context(), newClient(t, s, retries(2)))
		requireKind(t, example.want, err, name)
		require.Len(t, s.requests, 1)
	}

	versions := strings.Repeat(versionJSON+",", 99) + versionJSON
	secret := strings.Replace(secretJSON, versionJSON, versions, 1)
	page, err := newClient(t, always(200, strings.Replace(secretPageJSON, secretJSON, strings.Repeat(secret+",", 99)+secret, 1))).
		ListSecrets(t.Context(), ListOptions{})
	require.NoError(t, err, "the largest page is no such answer")
	require.Len(t, page.Secrets[99].Versions, 100)
}

// echo is a server that repeats all it was sent, in each way it can.
func echo(how int) *server {
	return &server{answer: func(_ int, r *http.Request) (*http.Response, error) {
		var said []byte
		if r.GetBody != nil {
			body, _ := r.GetBody()
			said, _ = io.ReadAll(body)
		}
		all := fmt.Sprintf("%s %s %s made-up-personal %s", r.Header, said, value, value[9:17])
		quoted, _ := json.Marshal(all)
		switch how {
		case 0:
			return reply(400, fmt.Sprintf(`{"error":%s,"error_description":%s,"error_detail":%s}`, quoted, quoted, quoted)), nil
		case 1:
			return reply(503, fmt.Sprintf(`{"error":%s,"error_description":%s}`, quoted, quoted), "Retry-After", token), nil
		case 2:
			return reply(200, all), nil
		case 3:
			return reply(200, fmt.Sprintf(`{"id":%s,"name":%s,"created_at":%s,"organization_id":%s}`, quoted, quoted, quoted, quoted)), nil
		case 4:
			return reply(307, all, "Location", "https://elsewhere.example/?"+all), nil
		case 5:
			return nil, errors.New(all)
		case 6:
			return nil, nil
		}
		resp := reply(200, "")
		resp.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { return 0, errors.New(all) }))
		return resp, nil
	}}
}

func TestNoErrorHoldsWhatWasSent(t *testing.T) {
	t.Parallel()
	for how := range 8 {
		for _, auth := range []Auth{Basic("1410000000001", token), Bearer(token)} {
			for _, x := range exchanges() {
				if how == 3 && x.method == "DELETE" {
					continue // any JSON is an answer
				}
				err := x.call(t.Context(), newClient(t, echo(how), func(cfg *Config) { cfg.Auth = auth }))
				require.Error(t, err)
				e := asError(t, err)
				encoded, jsonErr := json.Marshal(e)
				require.NoError(t, jsonErr)
				text := fmt.Sprintf("%v %+v %#v %#v %s", err, err, err, *e, encoded)
				requireNoTrace(t, text, token, "dXNlci0xNDEwMDAwMDAwMDAxOm1hZGUtdXAtcGVyc29uYWwtYWNjZXNzLXRva2Vu")
				if x.method == "POST" {
					requireNoTrace(t, text, value, valueBase64)
				}
			}
		}
	}
}

func TestAMalformedAnswerIsNotQuoted(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\n\r\n", value)
		conn.Close()
	}))
	defer s.Close()
	err := callOf(OpGetSecret)(t.Context(), newClient(t, nil, func(cfg *Config) { cfg.BaseURL = s.URL }))
	requireKind(t, ErrUnavailable, err)
	requireNoTrace(t, err.Error(), value)
}

func TestWordsThatRepeatASecretAreDropped(t *testing.T) {
	t.Parallel()
	for name, example := range map[string]struct {
		words, submitted string
		want             string
	}{
		"whole value":              {"bad value: " + value, value, ""},
		"eight bytes of it":        {"starts with " + value[:8], value, ""},
		"seven bytes of it":        {"starts with " + value[:7], value, "starts with " + value[:7]},
		"JSON of another language": {`is <a\"b\"&c\"d\"> here`, `<a"b"&c"d">`, ""},
		"end of it":                {value[len(value)-8:], value, ""},
		"its base64":               {"bad value: " + valueBase64, value, ""},
		"eight bytes of base64":    {"bad value: " + valueBase64[5:13] + "…", value, ""},
		"a short value":            {"bad value: ab", "ab", ""},
		"base64 of a short value":  {"bad value: YWI=", "ab", ""},
		"value beyond the reading": {strings.Repeat("x", maxExamined) + value, value, strings.Repeat("x", maxDescription) + "…"},
		"no value":                 {"too many versions", value, "too many versions"},
	} {
		body, err := json.Marshal(map[string]string{"error": example.words, "error_description": example.words})
		require.NoError(t, err)
		c := newClient(t, always(400, string(body)))
		_, createVersion := c.CreateVersion(t.Context(), secretID, []byte(example.submitted))
		_, createSecret := c.CreateSecret(t.Context(), NewSecret{Name: "a", Value: []byte(example.submitted)})
		for _, err := range []error{createVersion, createSecret} {
			require.Equal(t, example.want, asError(t, err).Description, name)
			require.Equal(t, example.want, asError(t, err).Code, name)
		}
	}
}

func TestWordsThatRepeatTheCredentialAreDropped(t *testing.T) {
	t.Parallel()
	for _, said := range []string{token, token[:8], "dXNlci0xNDEwMDAwMDAwMDAxOm1hZGUtdXAtcGVyc29uYWwtYWNjZXNzLXRva2Vu"} {
		body := fmt.Sprintf(`{"error":"no token %s","error_description":"no token %s"}`, said, said)
		auths := []Auth{Basic("1410000000001", token), Bearer(token)}
		if said[0] != 'm' {
			auths = auths[:1] // in base64 only where it is sent so
		}
		for _, auth := range auths {
			err := callOf(OpListSecrets)(t.Context(), newClient(t, always(401, body), func(cfg *Config) { cfg.Auth = auth }))
			require.EqualError(t, err, "abeja: list secrets: status 401 Unauthorized")
			require.Empty(t, asError(t, err).Code)
		}
	}
}

func TestWordsAreMadePrintableAndShort(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		`名前が不正です`:                          "名前が不正です",
		`line\nbreak\r\u001b[31mred\u0000`: "line break  [31mred ",
		`right\u202eto left\u2028`:         "right to left ",
		strings.Repeat("x", 301):           strings.Repeat("x", 300) + "…",
		strings.Repeat("x", 299) + "é":     strings.Repeat("x", 299) + "?…",
	} {
		err := callOf(OpGetSecret)(t.Context(), newClient(t, always(400, `{"error_description":"`+said+`"}`)))
		require.Equal(t, want, asError(t, err).Description)
	}
}

func TestWordsAreDroppedOnlyWhenTheyRepeatASecretInPart(t *testing.T) {
	t.Parallel()
	repeats := func(text, secret string) bool {
		n := min(traceLength, len(secret))
		for i := 0; n > 0 && i+n <= len(text); i++ {
			if strings.Contains(secret, text[i:i+n]) {
				return true
			}
		}
		return false
	}
	rapid.Check(t, func(t *rapid.T) {
		of := rapid.StringMatching(`[ab]{1,12}`) // so that many are alike
		text, secret := of.Draw(t, "text"), rapid.SampledFrom([]string{"", "x"}).Draw(t, "x")+of.Draw(t, "secret")
		want := text
		if repeats(text, secret) {
			want = ""
		}
		if got := clean(text, []string{"", secret}, nil); got != want {
			t.Fatalf("%q of %q with the secret %q", got, text, secret)
		}
	})
}

func TestCleanHoldsForAnyWords(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringN(1, 40, -1).Draw(t, "secret")
		part := secret
		if len(secret) > traceLength {
			at := rapid.IntRange(0, len(secret)-traceLength).Draw(t, "at")
			part = secret[at : at+traceLength]
		}
		before, after := rapid.String().Draw(t, "before"), rapid.String().Draw(t, "after")
		if got := clean(before+part+after, []string{"other", secret}, nil); got != "" {
			t.Fatalf("%q holds a part of %q", got, secret)
		}
		got := clean(before+after, nil, nil)
		if !utf8.ValidString(got) || len(got) > maxDescription*utf8.UTFMax || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q is not fit to be shown", got)
		}
	})
}
