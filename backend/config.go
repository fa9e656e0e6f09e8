package backend

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

const configKey = "config"

const (
	expiredWarn = "warn"
	expiredDeny = "deny"
)

// config is the connection as it is stored, under Vault's barrier.
type config struct {
	OrganizationID       string        `json:"organization_id"`
	UserID               string        `json:"user_id"`
	PersonalAccessToken  string        `json:"personal_access_token"`
	AuthToken            string        `json:"auth_token"`
	APIURL               string        `json:"api_url"`
	CACert               string        `json:"ca_cert"`
	RequestTimeout       time.Duration `json:"request_timeout"`
	MaxRetries           int           `json:"max_retries"`
	MaxRequestsPerSecond float64       `json:"max_requests_per_second"`
	CacheTTL             time.Duration `json:"cache_ttl"`
	StaleWhileRevalidate time.Duration `json:"stale_while_revalidate"`
	StaleIfError         time.Duration `json:"stale_if_error"`
	KeepLastGood         bool          `json:"keep_last_good"`
	CacheSize            int           `json:"cache_size"`
	CacheBytes           int           `json:"cache_bytes"`
	ExpiredSecrets       string        `json:"expired_secrets"`
	NamePrefix           string        `json:"name_prefix"`
	StandbyMaxAge        time.Duration `json:"standby_max_age"`
}

func (c *config) auth() client.Auth {
	if c.AuthToken != "" {
		return client.Bearer(c.AuthToken)
	}
	return client.Basic(c.UserID, c.PersonalAccessToken)
}

func defaultConfig() config {
	var c config
	for _, field := range configFields {
		if field.in != nil {
			field.set(&c, field.DefaultOrZero())
		}
	}
	return c
}

// freshness is how old answers may be, on a node that stands by or not.
func (c *config) freshness(standsBy bool) store.Freshness {
	f := store.Freshness{
		TTL: c.CacheTTL, StaleWhileRevalidate: c.StaleWhileRevalidate, StaleIfError: c.StaleIfError,
		Size: c.CacheSize, Bytes: c.CacheBytes,
	}
	if standsBy {
		f.TTL = min(f.TTL, c.StandbyMaxAge)
		f.StaleWhileRevalidate = min(f.StaleWhileRevalidate, c.StandbyMaxAge-f.TTL)
	}
	return f
}

func readConfig(ctx context.Context, s logical.Storage) (*config, error) {
	entry, err := s.Get(ctx, configKey)
	if err != nil || entry == nil {
		return nil, err
	}
	c := defaultConfig() // an older plugin has stored no newer field
	if err := entry.DecodeJSON(&c); err != nil {
		return nil, errors.New("the stored config cannot be read: delete it, then write it again")
	}
	return &c, nil
}

// configField is a field of config, as Vault and as the engine know it.
type configField struct {
	framework.FieldSchema
	in func(*config) any // a pointer to where it is; nil if it is not stored
}

// configFields are the fields by their names, which are also those in storage.
var configFields = map[string]configField{
	"organization_id": {in: func(c *config) any { return &c.OrganizationID }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeString, Required: true,
		Description: "The organization at ABEJA whose secrets the mount shows.",
	}},
	"user_id": {in: func(c *config) any { return &c.UserID }, FieldSchema: framework.FieldSchema{
		Type:        framework.TypeString,
		Description: "The ABEJA user to whom personal_access_token belongs, with or without the prefix 'user-'.",
	}},
	"personal_access_token": {in: func(c *config) any { return &c.PersonalAccessToken }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeString, DisplayAttrs: &framework.DisplayAttributes{Sensitive: true},
		Description: "The user's personal access token at ABEJA. Never returned.",
	}},
	"auth_token": {in: func(c *config) any { return &c.AuthToken }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeString, DisplayAttrs: &framework.DisplayAttributes{Sensitive: true},
		Description: "An auth token of ABEJA, in place of user_id and personal_access_token. Never returned.",
	}},
	"api_url": {in: func(c *config) any { return &c.APIURL }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeString, Default: client.DefaultBaseURL,
		Description: "Where ABEJA's API answers: an https URL, or http to a loopback address.",
	}},
	"ca_cert": {in: func(c *config) any { return &c.CACert }, FieldSchema: framework.FieldSchema{
		Type:        framework.TypeString,
		Description: "PEM certificates to trust for api_url in place of the host's.",
	}},
	"request_timeout": {in: func(c *config) any { return &c.RequestTimeout }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeDurationSecond, Default: int(client.DefaultTimeout / time.Second),
		Description: "How long one call to ABEJA may take, its retries included: 1s to 80s.",
	}},
	"max_retries": {in: func(c *config) any { return &c.MaxRetries }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeInt, Default: 3,
		Description: "How often a call to ABEJA is tried again, 0 to 10. What must not be done twice is not.",
	}},
	"max_requests_per_second": {in: func(c *config) any { return &c.MaxRequestsPerSecond }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeFloat, Default: 0.0,
		Description: "The most requests that the mount sends to ABEJA in a second; 0 sets no limit.",
	}},
	"cache_ttl": {in: func(c *config) any { return &c.CacheTTL }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeDurationSecond, Default: 0,
		Description: "How old a value may be to be returned without asking ABEJA; 0, the default, asks at each read.",
	}},
	"stale_while_revalidate": {in: func(c *config) any { return &c.StaleWhileRevalidate }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeDurationSecond, Default: 0,
		Description: "How much older than cache_ttl a value may be to be returned at once, with a warning, while ABEJA is asked for a newer one; 0, the default, makes the reader wait.",
	}},
	"stale_if_error": {in: func(c *config) any { return &c.StaleIfError }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeDurationSecond, Default: 0,
		Description: "How old a value may be to be returned, with a warning, when ABEJA fails; 0, the default, returns the error.",
	}},
	"keep_last_good": {in: func(c *config) any { return &c.KeepLastGood }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeBool, Default: false,
		Description: "Keep in Vault's storage the current value of each secret that is read, and the names, so that stale_if_error holds after a restart too.",
	}},
	"cache_size": {in: func(c *config) any { return &c.CacheSize }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeInt, Default: 10_000,
		Description: "How many values cache_ttl and stale_if_error keep in memory at most, 1 to 1000000.",
	}},
	"cache_bytes": {in: func(c *config) any { return &c.CacheBytes }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeInt, Default: 64 << 20,
		Description: "How many bytes those values may have in memory together, 1048576 to 1073741824.",
	}},
	"expired_secrets": {in: func(c *config) any { return &c.ExpiredSecrets }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeString, Default: expiredWarn, AllowedValues: []any{expiredWarn, expiredDeny},
		Description: "What a read of an expired secret does: 'warn' returns it with a warning, 'deny' refuses with 403.",
	}},
	"name_prefix": {in: func(c *config) any { return &c.NamePrefix }, FieldSchema: framework.FieldSchema{
		Type:        framework.TypeString,
		Description: "Shows only the secrets at ABEJA whose names begin so, and shows them without it.",
	}},
	"standby_max_age": {in: func(c *config) any { return &c.StandbyMaxAge }, FieldSchema: framework.FieldSchema{
		Type: framework.TypeDurationSecond, Default: 0,
		Description: "How old an answer may be that a standby returns by itself, on servers whose standbys can; 0, the default, has the active node answer.",
	}},
	"verify_connection": {FieldSchema: framework.FieldSchema{
		Type: framework.TypeBool, Default: true,
		Description: "Ask ABEJA whether it accepts the connection before storing it. Not stored itself.",
	}},
}

// shown reports whether a read answers with the field.
func (f configField) shown() bool {
	return f.in != nil && (f.DisplayAttrs == nil || !f.DisplayAttrs.Sensitive)
}

// set stores a value that the framework has read.
func (f configField) set(c *config, value any) {
	switch p := f.in(c).(type) {
	case *string:
		*p = strings.TrimSpace(value.(string)) // a file that is given with @ ends in a newline
	case *bool:
		*p = value.(bool)
	case *int:
		*p = value.(int)
	case *float64:
		*p = value.(float64)
	case *time.Duration:
		*p = time.Duration(value.(int)) * time.Second
	}
}

// get returns the value as a read answers it.
func (f configField) get(c *config) any {
	p := f.in(c)
	if duration, ok := p.(*time.Duration); ok {
		return int(*duration / time.Second)
	}
	return reflect.ValueOf(p).Elem().Interface()
}

// configSchemas are the schemas of some of the fields.
func configSchemas(some func(configField) bool) map[string]*framework.FieldSchema {
	schemas := make(map[string]*framework.FieldSchema)
	for name, field := range configFields {
		if some(field) {
			schemas[name] = &field.FieldSchema
		}
	}
	return schemas
}

// sameUser reports whether ABEJA shows the same with both configs, if it accepts both credentials.
func (c *config) sameUser(other *config) bool {
	return c.UserID != "" && c.OrganizationID == other.OrganizationID && c.target() == other.target()
}

// target is where and as whom the credential is sent.
func (c *config) target() [3]string {
	return [3]string{c.APIURL, c.CACert, strings.TrimPrefix(c.UserID, "user-")}
}

var (
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9_-]{0,200}$`)
	tokenForm  = regexp.MustCompile(`^[!-~]+$`)
)

// maxAge is 30 days: longer than any outage, and shorter than a value should live unseen.
const maxAge = 720 * time.Hour

// check refuses what cannot work, with the field to correct.
func (c *config) check() error {
	switch {
	case !client.ValidID(c.OrganizationID):
		return badRequest("organization_id is required: the id of the organization at ABEJA, letters, digits, '_' and '-'")
	case c.AuthToken == "" && (c.UserID == "" || c.PersonalAccessToken == ""):
		return badRequest("a credential is required: user_id and personal_access_token, or auth_token")
	case c.AuthToken != "" && (c.UserID != "" || c.PersonalAccessToken != ""):
		return badRequest("an auth_token is stored: to use a user's token instead give user_id and personal_access_token together")
	case c.UserID != "" && !client.ValidID(c.UserID):
		return badRequest("user_id must have letters, digits, '_' and '-', such as user-1111111111111")
	case !tokenForm.MatchString(c.PersonalAccessToken + c.AuthToken):
		return badRequest("the token must be printable ASCII without spaces: check how it was copied")
	case c.RequestTimeout < time.Second || c.RequestTimeout > 80*time.Second:
		return badRequest("request_timeout must be 1s to 80s: Vault itself gives up after 90s")
	case c.MaxRetries < 0 || c.MaxRetries > 10:
		return badRequest("max_retries must be 0 to 10")
	case !(c.MaxRequestsPerSecond == 0 || c.MaxRequestsPerSecond >= 0.1 && c.MaxRequestsPerSecond <= 10_000):
		return badRequest("max_requests_per_second must be 0 for no limit, or 0.1 to 10000")
	case max(c.CacheTTL, c.StaleWhileRevalidate, c.StaleIfError) > maxAge:
		return badRequest("cache_ttl, stale_while_revalidate and stale_if_error must be at most 720h")
	case c.KeepLastGood && c.StaleIfError == 0:
		return badRequest("keep_last_good needs stale_if_error, which says how old a returned value may be")
	case c.CacheSize < 1 || c.CacheSize > 1_000_000:
		return badRequest("cache_size must be 1 to 1000000")
	case c.CacheBytes < 1<<20 || c.CacheBytes > 1<<30:
		return badRequest("cache_bytes must be 1048576 (1 MiB) to 1073741824 (1 GiB)")
	case c.ExpiredSecrets != expiredWarn && c.ExpiredSecrets != expiredDeny:
		return badRequest("expired_secrets must be '%s' or '%s'", expiredWarn, expiredDeny)
	case c.StandbyMaxAge != 0 && (c.StandbyMaxAge < minStandbyAge || c.StandbyMaxAge > maxAge):
		return badRequest("standby_max_age must be 0, to have the active node answer, or 5s to 720h")
	case !prefixForm.MatchString(c.NamePrefix):
		return badRequest("name_prefix must have at most 200 letters, digits, '_' and '-'")
	case c.CACert != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CACert)):
		return badRequest("ca_cert holds no PEM certificate: give the file's content, with ca_cert=@FILE")
	}
	return checkURL(c.APIURL)
}

func checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Hostname() == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return badRequest("api_url must be a URL such as %s, without user, query or fragment", client.DefaultBaseURL)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return badRequest("api_url must begin with https://, since the credential goes there; http:// is only for loopback addresses")
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
