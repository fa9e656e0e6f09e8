// Package simulator is a local stand-in for ABEJA Secret Manager: an http.Handler that answers its ten
// calls from memory, with the documented shapes and checks. What ABEJA documents nowhere is a field of
// Behavior, so that both ways can be tried; latency and faults can be added while it runs.
//
// It shares no code with the client, so that a misreading of the API cannot hide on both sides. Its
// secrets are made up, and its control API under /_simulator/ asks for no credential: never expose it
// beyond the machine.
package simulator

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say who may call the simulator and how it starts out. Zero values get made-up defaults.
type Options struct {
	OrganizationID string
	UserID         string // gets the prefix "user-" if it lacks it
	Token          string // the personal access token, for Basic
	AuthToken      string // for Bearer
	Behavior       Behavior
	Latency        time.Duration
}

// Simulator is an ABEJA Secret Manager that holds one organization and knows one user. It is safe for
// concurrent use.
type Simulator struct {
	organization, user, token, authToken string

	control  http.Handler
	requests requestLog
	faults   faultList

	mu       sync.Mutex // guards what follows
	behavior Behavior
	bucket   bucket
	latency  time.Duration
	tokens   map[string]bool // the user's personal access tokens that are valid
	list     []*secret       // in the order of the list call
	deleted  []deleted       // oldest first; what the list may still show
	shuffler *rand.Rand
	byID     map[string]*secret
	byName   map[string]*secret
	lastID   int64
	made     int
	filled   int
}

// New makes a simulator without secrets. It panics if the behavior in o is not valid.
func New(o Options) *Simulator {
	s := &Simulator{
		organization: cmp.Or(o.OrganizationID, "1410000000000"),
		user:         "user-" + strings.TrimPrefix(cmp.Or(o.UserID, "1410000000001"), "user-"),
		token:        cmp.Or(o.Token, "made-up-personal-access-token"),
		authToken:    cmp.Or(o.AuthToken, "made-up-auth-token"),
		shuffler:     rand.New(rand.NewPCG(1, 1)),
		requests:     requestLog{counts: map[Op]int{}},
		latency:      o.Latency,
		byID:         map[string]*secret{},
		byName:       map[string]*secret{},
	}
	s.tokens = map[string]bool{s.token: true}
	s.control = s.controlHandler()
	s.SetBehavior(o.Behavior)
	return s
}

// Credentials tell what a caller must present: the organization, the user with its prefix "user-", the
// personal access token that this user has from the start, and the auth token.
func (s *Simulator) Credentials() (org, user, token, authToken string) {
	return s.organization, s.user, s.token, s.authToken
}

// SetLatency makes every call wait that long before it acts.
func (s *Simulator) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// ServeHTTP answers one call of ABEJA Secret Manager, or of the control API under /_simulator/.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.control.ServeHTTP(w, r)
		return
	}
	c, routeErr := route(r)
	logged := s.requests.add(w, r, c.op)
	defer logged.end()
	w = logged

	// The body is read before any waiting: only then does net/http notice a client that hangs up.
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		io.Copy(io.Discard, r.Body) // a client whose body is cut off may not hear the refusal
		send(w, badRequest("the request body cannot be read").answer())
		return
	}
	c.body = body

	s.mu.Lock()
	latency := s.latency
	s.mu.Unlock()
	wait(r.Context(), latency, nil)

	act := func() answer {
		if routeErr != nil {
			return routeErr.answer()
		}
		return s.act(r, c)
	}
	if fault, cleared, ok := s.faults.take(c.op); ok {
		fault.serve(w, r, cleared, act)
		return
	}
	send(w, act())
}

// maxBody is more than the largest value takes in base64.
const maxBody = 1 << 20

// call is one of the ten calls, as read from a request.
type call struct {
	op                     Op
	org, secretID, version string
	offset, limit          int
	values                 bool // return_secret_value=True
	body                   []byte
}

// act checks who calls, then performs the call.
func (s *Simulator) act(r *http.Request, c call) answer {
	status, result, err := s.perform(r, c)
	if err != nil {
		return err.answer()
	}
	return jsonAnswer(status, result)
}

func (s *Simulator) perform(r *http.Request, c call) (status int, result any, err *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.limitRate(); err != nil {
		return 0, nil, err
	}
	if !s.authorized(r) {
		return 0, nil, &apiError{status: 401, code: "unauthorized", description: "the credential is not valid"}
	}
	if c.org != s.organization {
		return 0, nil, s.unknown("organization", c.org)
	}
	if err := c.readQuery(r); err != nil {
		return 0, nil, err
	}
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); len(c.body) > 0 && mediaType != "application/json" {
		return 0, nil, badRequest("the Content-Type of the request must be application/json")
	}

	status = http.StatusOK
	switch c.op {
	case ListSecrets:
		result, err = s.listSecrets(c)
	case GetSecret:
		result, err = s.getSecret(c)
	case CreateSecret:
		status = http.StatusCreated
		result, err = s.createSecret(c)
	case UpdateSecret:
		result, err = s.updateSecret(c)
	case DeleteSecret:
		result, err = s.deleteSecret(c)
	case ListVersions:
		result, err = s.listVersions(c)
	case GetVersion:
		result, err = s.getVersion(c)
	case CreateVersion:
		status = http.StatusCreated
		result, err = s.createVersion(c)
	case UpdateVersion:
		result, err = s.updateVersion(c)
	case DeleteVersion:
		result, err = s.deleteVersion(c)
	}
	return status, result, err
}

// authorized wants the user id with its prefix: adding "user-" is the client's part.
func (s *Simulator) authorized(r *http.Request) bool {
	if user, token, ok := r.BasicAuth(); ok {
		return user == s.user && s.tokens[token]
	}
	return r.Header.Get("Authorization") == "Bearer "+s.authToken
}

// readQuery takes the paging of the two list calls, and whether values are wanted.
func (c *call) readQuery(r *http.Request) *apiError {
	query := r.URL.Query()
	c.values = query.Get("return_secret_value") == "True"
	c.offset, c.limit = 0, 50
	if c.op != ListSecrets && c.op != ListVersions {
		return nil
	}
	var err error
	if query.Has("offset") {
		if c.offset, err = strconv.Atoi(query.Get("offset")); err != nil || c.offset < 0 {
			return badField("offset", "offset must be a number, 0 or more")
		}
	}
	if query.Has("limit") {
		if c.limit, err = strconv.Atoi(query.Get("limit")); err != nil || c.limit < 1 || c.limit > 100 {
			return badField("limit", "limit must be a number from 1 to 100")
		}
	}
	return nil
}

// Op names one of the ten calls.
type Op string

// The ten calls.
const (
	ListSecrets   Op = "list_secrets"
	GetSecret     Op = "get_secret"
	CreateSecret  Op = "create_secret"
	UpdateSecret  Op = "update_secret"
	DeleteSecret  Op = "delete_secret"
	ListVersions  Op = "list_versions"
	GetVersion    Op = "get_version"
	CreateVersion Op = "create_version"
	UpdateVersion Op = "update_version"
	DeleteVersion Op = "delete_version"
)

var ops = []Op{ListSecrets, GetSecret, CreateSecret, UpdateSecret, DeleteSecret, ListVersions, GetVersion, CreateVersion, UpdateVersion, DeleteVersion}

// route finds which of the ten calls a request is. For any other it returns the error to answer with.
func route(r *http.Request) (call, *apiError) {
	notFound := &apiError{status: 404, code: "not_found", description: "no such path"}
	rest, ok := strings.CutPrefix(r.URL.Path, "/secret-manager/organizations/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 2 || parts[1] != "secrets" || len(parts) > 3 && parts[3] != "versions" {
		return call{}, notFound
	}

	c := call{org: parts[0]}
	var methods map[string]Op
	switch len(parts) {
	case 2:
		methods = map[string]Op{"GET": ListSecrets, "POST": CreateSecret}
	case 3:
		c.secretID = parts[2]
		methods = map[string]Op{"GET": GetSecret, "PATCH": UpdateSecret, "DELETE": DeleteSecret}
	case 4:
		c.secretID = parts[2]
		methods = map[string]Op{"GET": ListVersions, "POST": CreateVersion}
	case 5:
		c.secretID, c.version = parts[2], parts[4]
		methods = map[string]Op{"GET": GetVersion, "PATCH": UpdateVersion, "DELETE": DeleteVersion}
	default:
		return call{}, notFound
	}
	c.op, ok = methods[r.Method]
	if !ok {
		return c, &apiError{status: 405, code: "method_not_allowed", description: "the method is not allowed for this path"}
	}
	return c, nil
}

// answer is a whole HTTP answer with a JSON body.
type answer struct {
	status     int
	retryAfter string
	body       []byte
}

func jsonAnswer(status int, result any) answer {
	body, err := json.Marshal(result)
	if err != nil {
		panic(err) // only this package's own types come here
	}
	return answer{status: status, body: body}
}

func send(w http.ResponseWriter, a answer) {
	sendHeader(w, a)
	w.Write(a.body)
}

func sendHeader(w http.ResponseWriter, a answer) {
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
}

// wait ends after d, or when cleared is closed. If the client gives up before that, the call ends there.
func wait(ctx context.Context, d time.Duration, cleared <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-cleared:
	case <-ctx.Done():
		panic(http.ErrAbortHandler)
	}
}
