package backend

import (
	"context"
	"crypto/rand"
	"math/big"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

const (
	generateSynopsis    = "Make a random value for a secret."
	generateDescription = `
Write stores a new random value in the secret, which it creates when there is none. The
value is made by a password policy of Vault, or of length characters drawn evenly from
charset. It is returned only with return_value=true. A policy that allows only the length
lets somebody rotate secrets without ever seeing one. Denying return_value is not enough: with
length=8 charset=ab there are only 256 values.

    path "abeja/generate/*" {
      capabilities       = ["create", "update"]
      allowed_parameters = { "length" = [] }
    }`

	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

func (b *backend) pathGenerate() *framework.Path {
	answer := map[string]*framework.FieldSchema{
		"value": {Type: framework.TypeString, DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}, Description: "The value, only with return_value=true."},
	}
	for name, schema := range writeAnswer {
		answer[name] = schema
	}
	responses := map[int][]framework.Response{http.StatusOK: {{Description: "What was stored.", Fields: answer}}}
	return &framework.Path{
		Pattern:         "generate/(?P<name>[^/]+)",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "generate", OperationSuffix: "secret"},
		HelpSynopsis:    generateSynopsis,
		HelpDescription: strings.TrimSpace(generateDescription),
		Fields: map[string]*framework.FieldSchema{
			"name":            nameField,
			"length":          {Type: framework.TypeInt, Default: 32, Description: "How many characters, 8 to 4096."},
			"charset":         {Type: framework.TypeString, Default: alphanumeric, Description: "The characters to draw from: 2 or more of printable ASCII, none twice."},
			"password_policy": {Type: framework.TypeString, Description: "A password policy of Vault, in place of length and charset."},
			"return_value":    {Type: framework.TypeBool, Description: "Return the value too."},
		},
		ExistenceCheck: b.exists,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.CreateOperation: &framework.PathOperation{Callback: b.onSecret(b.generate), Summary: "Create the secret with a random value.", Responses: responses},
			logical.UpdateOperation: &framework.PathOperation{Callback: b.onSecret(b.generate), Summary: "Give the secret a new random value.", Responses: responses},
		},
	}
}

func (b *backend) generate(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	value, err := b.randomValue(ctx, r.fields)
	if err != nil {
		return nil, err
	}
	written, err := r.write(ctx, store.Update{Value: []byte(value)}, nil)
	resp, err := writeResponse(written, err)
	if err == nil && r.fields.Get("return_value").(bool) {
		resp.Data["value"] = value
	}
	return resp, err
}

func (b *backend) randomValue(ctx context.Context, d *framework.FieldData) (string, error) {
	if policy := d.Get("password_policy").(string); policy != "" {
		_, length := d.GetOk("length")
		_, charset := d.GetOk("charset")
		if length || charset {
			return "", badRequest("give password_policy, or length and charset, not both")
		}
		value, err := b.System().GeneratePasswordFromPolicy(ctx, policy)
		if err != nil || value == "" {
			return "", badRequest("Vault generated no value with this password_policy: see that 'vault read sys/policies/password/NAME' shows it")
		}
		return value, nil
	}
	length, charset := d.Get("length").(int), d.Get("charset").(string)
	if length < 8 || length > 4096 {
		return "", badRequest("length must be 8 to 4096")
	}
	if !validCharset(charset) {
		return "", badRequest("charset must be 2 or more characters of printable ASCII, none twice")
	}
	value := make([]byte, length)
	for i := range value {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(charset))))
		if err != nil {
			return "", err
		}
		value[i] = charset[n.Int64()]
	}
	return string(value), nil
}

func validCharset(charset string) bool {
	var seen [256]bool
	for _, c := range []byte(charset) {
		if c < ' ' || c > '~' || seen[c] {
			return false
		}
		seen[c] = true
	}
	return len(charset) >= 2
}
