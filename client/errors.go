package client

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Op names one of the API's calls, in errors and metrics.
type Op string

// The ten calls.
const (
	OpListSecrets   Op = "list_secrets"
	OpGetSecret     Op = "get_secret"
	OpCreateSecret  Op = "create_secret"
	OpUpdateSecret  Op = "update_secret"
	OpDeleteSecret  Op = "delete_secret"
	OpListVersions  Op = "list_versions"
	OpGetVersion    Op = "get_version"
	OpCreateVersion Op = "create_version"
	OpUpdateVersion Op = "update_version"
	OpDeleteVersion Op = "delete_version"
)

// What went wrong, for errors.Is on any error of this package.
var (
	// ErrInvalid: ABEJA refused what was asked (400, 422 and every other 4xx without a name here).
	ErrInvalid = errors.New("invalid request")
	// ErrUnauthorized: ABEJA refused the credential (401, 403). A 403 may also be ABEJA's
	// answer for an id that it does not know or that is another organization's.
	ErrUnauthorized = errors.New("credential refused")
	// ErrNotFound: no such id (404).
	ErrNotFound = errors.New("not found")
	// ErrConflict: the state forbids it, as a name that exists (409).
	ErrConflict = errors.New("conflict")
	// ErrRateLimited: too many requests, for ABEJA (429) or for Limiter.
	ErrRateLimited = errors.New("rate limited")
	// ErrTimeout: no whole answer within the call's time, or no Room for it.
	ErrTimeout = errors.New("timed out")
	// ErrUnavailable: ABEJA failed (5xx), or could not be reached.
	ErrUnavailable = errors.New("unavailable")
	// ErrNotAsked: Config.Gate did not let the request through.
	ErrNotAsked = errors.New("not asked")
	// ErrLarge: the answer is larger than ReadOptions.MaxBytes allows, and was not read to its end.
	ErrLarge = errors.New("larger than allowed")
	// ErrBadAnswer: what came is not what ABEJA documents, or not what was asked for.
	ErrBadAnswer = errors.New("unexpected answer")
)

var (
	errNotJSON   = errors.New("the answer is not the documented JSON")
	errTooLarge  = errors.New("the answer is larger than any of ABEJA's can be")
	errOverMost  = errors.New("the answer is larger than the caller allows")
	errNoRoom    = errors.New("an answer came, but others that are being read left no room for it in time")
	errCut       = errors.New("the connection was cut before a whole HTTP answer came")
	errOverLimit = errors.New("waiting for the rate limit would exceed the deadline")
)

// Error is a call that failed. It holds neither credentials nor secret values.
type Error struct {
	// Op is the call.
	Op Op
	// Status is ABEJA's HTTP status; 0 when no answer came.
	Status int
	// Code and Description are ABEJA's "error" and "error_description"; often empty.
	// One that repeats part of a submitted value or of the credential is dropped.
	Code, Description string
	// RetryAfter is how long ABEJA asked to wait; 0 when it did not.
	RetryAfter time.Duration
	// Err is the cause when no answer came or it could not be used.
	Err error

	mayHaveActed bool // by one of the attempts, though the last one was refused
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("abeja: %s: %s", strings.ReplaceAll(string(e.Op), "_", " "), e.fact())
}

// fact is what went wrong, whatever the call.
func (e *Error) fact() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.Description != "":
		return fmt.Sprintf("status %d: %s", e.Status, e.Description)
	}
	return fmt.Sprintf("status %d %s", e.Status, http.StatusText(e.Status))
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is sorts an error under exactly one of the package's Err values.
func (e *Error) Is(target error) bool { return target == e.kind() }

func (e *Error) kind() error {
	switch {
	case errors.As(e.Err, new(*NotAskedError)):
		return ErrNotAsked
	case errors.Is(e.Err, errOverLimit):
		return ErrRateLimited
	case errors.Is(e.Err, errOverMost):
		return ErrLarge
	case errors.Is(e.Err, context.DeadlineExceeded), errors.Is(e.Err, errNoRoom):
		return ErrTimeout
	case e.Err != nil && (e.Status != 0 || errors.Is(e.Err, errTooLarge)):
		return ErrBadAnswer
	case e.Status == 0, e.Status >= 500:
		return ErrUnavailable
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return ErrUnauthorized
	case e.Status == http.StatusNotFound:
		return ErrNotFound
	case e.Status == http.StatusConflict:
		return ErrConflict
	case e.Status == http.StatusTooManyRequests:
		return ErrRateLimited
	}
	return ErrInvalid
}

// OutcomeUnknown says that ABEJA may have done what was asked, though the call failed: look
// before asking again.
func (e *Error) OutcomeUnknown() bool {
	if e.mayHaveActed {
		return true
	}
	if errors.Is(e.Err, errOverLimit) || errors.As(e.Err, new(*NotAskedError)) {
		return false
	}
	var dial *net.OpError
	var cert *tls.CertificateVerificationError
	if errors.As(e.Err, &cert) || errors.As(e.Err, &dial) && dial.Op == "dial" {
		return false
	}
	return e.Status < 400 || e.Status >= 500
}

// noAnswer makes the error of a call that no usable answer came for.
func noAnswer(ctx context.Context, t *tries, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	if ctx.Err() != nil && !errors.Is(err, errNoRoom) {
		return &Error{Op: t.op, Err: fmt.Errorf("no whole answer in time: %w", context.DeadlineExceeded)}
	}
	return &Error{Op: t.op, Err: cause(err), mayHaveActed: t.mayHaveActed}
}

// cause keeps the errors whose text is about the connection. The text of any other may quote
// what the server sent, and what it sends may hold a value.
func cause(err error) error {
	for _, own := range []error{errTooLarge, errOverMost, errNoRoom, errOverLimit} {
		if errors.Is(err, own) {
			return own
		}
	}
	var network *net.OpError
	var cert *tls.CertificateVerificationError
	var refused *NotAskedError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &cert):
		return cert
	case errors.As(err, &network):
		return network
	}
	return errCut
}

// refused makes the error of an answer that is not a success.
func (c *Client) refused(k call, t *tries, resp *http.Response, body []byte) error {
	e := &Error{Op: k.op, Status: resp.StatusCode, RetryAfter: retryAfter(resp), mayHaveActed: t.mayHaveActed}
	if resp.StatusCode < 400 {
		e.Err = errors.New("ABEJA's API never redirects, but this server did")
		return e
	}
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &said) == nil {
		inPart := looks(string(k.submitted))
		var whole []string
		for _, trace := range c.auth.reveal().traces {
			whole = append(whole, looks(trace)...)
		}
		if errors.Is(e, ErrUnauthorized) { // is about the credential, and may well repeat part of it
			inPart = append(inPart, whole...)
		}
		e.Code, e.Description = clean(said.Error, inPart, whole), clean(said.Description, inPart, whole)
	}
	return e
}

const (
	maxDescription = 300
	maxExamined    = 4096
	traceLength    = 8
)

// clean makes ABEJA's words fit to be repeated: short, printable, and empty when they hold one of
// whole, or traceLength bytes in a row of one of inPart, or all of a shorter one. The credential is
// no part of inPart where ABEJA may repeat a text of the caller's, such as a description: what is
// dropped would tell the caller whether a guess at the credential's next byte is right.
func clean(text string, inPart, whole []string) string {
	text = text[:min(len(text), maxExamined)]
	runs := runsOf(text)
	for _, secret := range inPart {
		short := secret != "" && len(secret) < traceLength
		if short && strings.Contains(text, secret) || runs.shareWith(secret) {
			return ""
		}
	}
	for _, secret := range whole {
		if strings.Contains(text, secret) {
			return ""
		}
	}
	if len(text) > maxDescription {
		text = text[:maxDescription] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// looks are the ways in which a secret may be repeated: as it is, escaped, in hex, and in base64,
// which has three looks by how many bytes come before. Characters that mix with those are left out.
func looks(secret string) []string {
	switch {
	case secret == "":
		return nil
	case len(secret) < traceLength: // any text may hold what is left of its other looks
		return []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))}
	}
	quoted, _ := json.Marshal(secret)
	var plain strings.Builder // as other languages write JSON: '<', '>' and '&' are not escaped
	toPlain := json.NewEncoder(&plain)
	toPlain.SetEscapeHTML(false)
	toPlain.Encode(secret)
	inHex := hex.EncodeToString([]byte(secret))
	all := []string{secret, strings.Trim(string(quoted), `"`), strings.Trim(plain.String(), "\"\n"), url.QueryEscape(secret), url.PathEscape(secret), inHex, strings.ToUpper(inHex)}
	for before, mixed := range []int{0, 2, 3} {
		end := (before + len(secret)) * 8 / 6
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			all = append(all, encoding.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))[mixed:end])
		}
	}
	slices.Sort(all)
	return slices.Compact(all) // most are alike, where there is nothing to escape
}

// runs is the set of all traceLength bytes in a row of a text, each as a number. To look up what a long
// secret has takes time in proportion to the secret, however long the text is.
type runs struct {
	all   map[uint64]struct{}
	maybe [1 << 16]bool // by hash: spares nearly all look-ups in the map
}

func runsOf(text string) *runs {
	r := &runs{all: make(map[uint64]struct{}, len(text))}
	var run uint64 // the last 8 bytes: as many as traceLength
	for i := range len(text) {
		if run = run<<8 | uint64(text[i]); i >= traceLength-1 {
			r.all[run], r.maybe[hash(run)] = struct{}{}, true
		}
	}
	return r
}

// shareWith reports whether a run of traceLength bytes of the secret is in the text that r is made of.
func (r *runs) shareWith(secret string) bool {
	var run uint64
	for i := range len(secret) {
		if run = run<<8 | uint64(secret[i]); i >= traceLength-1 && r.maybe[hash(run)] {
			if _, held := r.all[run]; held {
				return true
			}
		}
	}
	return false
}

func hash(run uint64) uint16 { return uint16(run * 0x9e3779b97f4a7c15 >> 48) }
