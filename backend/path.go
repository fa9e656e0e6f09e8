package backend

import (
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// operationPrefix names the engine in the ids of Vault's OpenAPI document.
const operationPrefix = "abeja"

var nameField = &framework.FieldSchema{
	Type: framework.TypeString, Required: true,
	Description: "The secret's name: ASCII letters, digits, '_' and '-'.",
}

func verb(v string) *framework.DisplayAttributes {
	return &framework.DisplayAttributes{OperationVerb: v}
}

func noContent(description string) map[int][]framework.Response {
	return map[int][]framework.Response{http.StatusNoContent: {{Description: description}}}
}

// warnOfOdd says that some of what ABEJA tells cannot be understood.
func warnOfOdd(resp *logical.Response, records int) {
	if records > 0 {
		resp.AddWarning(fmt.Sprintf("Records in ABEJA's answer that cannot be understood in full: %d. What cannot is left out here, or null.", records))
	}
}

func textOrNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func timeOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}
