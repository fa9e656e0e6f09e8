package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Behavior decides what ABEJA documents nowhere. Its zero value is the simulator's default.
type Behavior struct {
	// NewVersionDeactivatesOlder makes all older versions inactive when one is added. Otherwise they
	// keep their status.
	NewVersionDeactivatesOlder bool `json:"new_version_deactivates_older"`

	// DuplicateNameIs400 refuses a name that exists with 400 instead of 409.
	DuplicateNameIs400 bool `json:"duplicate_name_is_400"`

	// UnknownIDIs403 refuses an unknown secret, version or organization with 403 instead of 404.
	UnknownIDIs403 bool `json:"unknown_id_is_403"`

	// Order is that of lists: "created" (default: oldest first), "newest", "name", "hash" (as good as
	// random, but stable), or "shuffled" (another one in each call, so that pages do not fit together; a
	// run repeats the same orders). With "name" and "shuffled", versions come oldest first.
	Order string `json:"order"`

	// ListLag is how old the membership is that the list of secrets shows: a secret made less than that ago
	// is not in it yet, and one deleted less than that ago still is, as it was. What else is shown of a
	// secret is never old. In JSON it is a text such as "2s".
	ListLag time.Duration `json:"-"`

	// ExpiredIs404 refuses to read an expired secret or its versions with 404. The list still shows it,
	// without values, its name stays taken, and it can be changed and deleted.
	ExpiredIs404 bool `json:"expired_is_404"`

	// Clear is what clears description and expired_at: "both" (default), "null" (then an empty
	// description changes nothing and an empty expired_at is 400), or "empty" (then null changes
	// nothing).
	Clear string `json:"clear"`

	// ListOmitsVersions leaves the versions out of a list of secrets that does not ask for values.
	// Otherwise they come without their values.
	ListOmitsVersions bool `json:"list_omits_versions"`

	// GetOmitsVersions leaves the versions out of a secret that is got without values. Otherwise they come
	// without their values.
	GetOmitsVersions bool `json:"get_omits_versions"`

	// RateLimit is how many calls a second are answered, with as many in one burst; 0 is no limit. The
	// others are refused with 429, with a Retry-After in whole seconds if RateLimitRetryAfter is set.
	RateLimit           float64 `json:"rate_limit"`
	RateLimitRetryAfter bool    `json:"rate_limit_retry_after"`

	// LastVersionProtected refuses with 400 to delete a secret's only version, and to delete or make
	// inactive its only active version. Otherwise a secret may be left without either.
	LastVersionProtected bool `json:"last_version_protected"`

	// MaxValueBytes (0: 65,536, before base64) and MaxVersions (0: 100) are refused with 400 when
	// exceeded.
	MaxValueBytes int `json:"max_value_bytes"`
	MaxVersions   int `json:"max_versions"`

	// TimesWithOffset answers times with the offset +09:00 instead of Z.
	TimesWithOffset bool `json:"times_with_offset"`

	// VersionTimesDrift moves a version's updated_at to the last five-minute mark, as in the documented
	// examples, although nothing changed.
	VersionTimesDrift bool `json:"version_times_drift"`
}

// plainBehavior has the fields of Behavior, but not its way into JSON.
type plainBehavior Behavior

// MarshalJSON writes all switches.
func (b Behavior) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainBehavior
		ListLag string `json:"list_lag"`
	}{plainBehavior(b), b.ListLag.String()})
}

// UnmarshalJSON changes the switches that are given. It refuses what is none.
func (b *Behavior) UnmarshalJSON(text []byte) error {
	in := struct {
		*plainBehavior
		ListLag *duration `json:"list_lag"`
	}{(*plainBehavior)(b), (*duration)(&b.ListLag)}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(&in)
}

// Check says what is wrong with b, if anything.
func (b Behavior) Check() error {
	if !slices.Contains([]string{"", "created", "newest", "name", "hash", "shuffled"}, b.Order) {
		return fmt.Errorf("order %q must be created, newest, name, hash or shuffled", b.Order)
	}
	if !slices.Contains([]string{"", "both", "null", "empty"}, b.Clear) {
		return fmt.Errorf("clear %q must be both, null or empty", b.Clear)
	}
	if b.ListLag < 0 {
		return fmt.Errorf("list_lag %v must be 0 or more", b.ListLag)
	}
	if b.RateLimit < 0 || b.MaxValueBytes < 0 || b.MaxVersions < 0 {
		return fmt.Errorf("a limit must be 0 or more")
	}
	return nil
}

// SetBehavior changes the behavior from the next call on. It panics if b is not valid.
func (s *Simulator) SetBehavior(b Behavior) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.setBehavior(b); err != nil {
		panic(err)
	}
}

func (s *Simulator) setBehavior(b Behavior) error {
	if err := b.Check(); err != nil {
		return err
	}
	s.behavior = b
	s.bucket = bucket{tokens: math.Ceil(b.RateLimit), filled: time.Now()}
	s.sortList()
	return nil
}

// bucket is the token bucket of the rate limit.
type bucket struct {
	tokens float64
	filled time.Time
}

func (s *Simulator) limitRate() *apiError {
	rate := s.behavior.RateLimit
	if rate == 0 {
		return nil
	}
	now := time.Now()
	s.bucket.tokens = min(math.Ceil(rate), s.bucket.tokens+rate*now.Sub(s.bucket.filled).Seconds())
	s.bucket.filled = now
	if s.bucket.tokens >= 1 {
		s.bucket.tokens--
		return nil
	}
	err := &apiError{status: http.StatusTooManyRequests, code: "too_many_requests", description: "too many requests"}
	if s.behavior.RateLimitRetryAfter {
		err.retryAfter = strconv.Itoa(int(math.Ceil((1 - s.bucket.tokens) / rate)))
	}
	return err
}
