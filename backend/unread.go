package backend

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// What an operation reads follows from how its path declares a field: a read or list reads those
// with Query, a write or patch the others, and a delete none. A field that the pattern captures is
// read only from the path.

func reads(path *framework.Path, op logical.Operation, field string) bool {
	schema := path.Fields[field]
	if schema == nil || strings.Contains(path.Pattern, "(?P<"+field+">") {
		return false
	}
	if isRead(op) {
		return schema.Query
	}
	return !schema.Query && op != logical.DeleteOperation
}

func isRead(op logical.Operation) bool {
	return op == logical.ReadOperation || op == logical.ListOperation
}

// leaveUnread takes what the operation does not read out of the request, and returns the warning
// for it, or "" when all is read. An operation that changes something is refused instead, since
// more or less may have been meant than it would do: "delete secrets/NAME version=1" is about one
// version. The paths of KV version 2 stay as lenient as that engine, and what was read can be written back.
// No message repeats a name that the caller made up: it may be a secret in the wrong place.
func (b *backend) leaveUnread(req *logical.Request) (warning string, err error) {
	if len(req.Data) == 0 {
		return "", nil
	}
	path := b.Route(req.Path)
	if path == nil || path.Operations[req.Operation] == nil || path.TakesArbitraryInput {
		return "", nil
	}
	read := maps.Clone(req.Data)
	maps.DeleteFunc(read, func(field string, _ any) bool { return !reads(path, req.Operation, field) })
	if len(read) == len(req.Data) {
		return "", nil
	}
	if writesBack(path, req) {
		maps.DeleteFunc(read, func(_ string, value any) bool { return value == nil })
		if read["value"] == nil {
			return "", badRequest("what a read returned was written back without the value, and nothing was changed: to remove the secret delete it")
		}
		req.Data = read
		return "what a read answers was written back: " + strings.Join(toldByABEJA, ", ") + " cannot be written and are ignored, and what is null stays as it is", nil
	}
	what := operationName(req.Operation) + " " + shownPath(path)
	takes := "'" + what + "' takes no fields"
	if fields := readFields(path, req.Operation); len(fields) > 0 {
		takes += " but " + strings.Join(fields, ", ")
	}
	if isRead(req.Operation) || path.DisplayAttrs.OperationPrefix == kvPrefix {
		req.Data = read
		return takes + ": what else was given is ignored", nil
	}
	return "", badRequest("%s, and nothing was changed: %s", takes, meantElsewhere[what])
}

// toldByABEJA are the keys of a secret as it is read that no write takes.
var toldByABEJA = []string{"created_at", "id", "name", "provider", "status", "updated_at", "version", "version_id"}

// writesBack reports whether a write of a secret has all that a read of it answers, maybe changed: a client
// that reads, changes a key and writes the whole means that key, and nothing by the others.
func writesBack(path *framework.Path, req *logical.Request) bool {
	if operationName(req.Operation) != "write" || path.Fields["value"] == nil || path.Fields["version"] == nil {
		return false
	}
	for _, field := range toldByABEJA {
		if _, given := req.Data[field]; !given {
			return false
		}
	}
	for field := range req.Data {
		if !reads(path, req.Operation, field) && !slices.Contains(toldByABEJA, field) {
			return false
		}
	}
	return true
}

// meantElsewhere says for each operation that refuses what it does not read what may have been meant.
var meantElsewhere = map[string]string{
	"write config":  "correct the field's name",
	"patch config":  "correct the field's name",
	"delete config": "to forget one field, patch it to null",

	"write secrets/NAME":  elsewhereForWrite,
	"patch secrets/NAME":  elsewhereForWrite,
	"delete secrets/NAME": elsewhereForDelete,
	"write ids/ID":        elsewhereForWrite,
	"patch ids/ID":        elsewhereForWrite,
	"delete ids/ID":       elsewhereForDelete,

	"write secrets/NAME/versions/N":  "a value goes to secrets/NAME",
	"delete secrets/NAME/versions/N": "the version is the one in the path",
	"write generate/NAME":            "a value of your own goes to secrets/NAME",
}

const (
	elsewhereForWrite = "several keys, or KV version 2's data and options, go to data/NAME, " +
		"and a version's status to secrets/NAME/versions/N"
	elsewhereForDelete = "for one version delete secrets/NAME/versions/N"
)

func operationName(op logical.Operation) string {
	switch op {
	case logical.CreateOperation, logical.UpdateOperation:
		return "write"
	}
	return string(op)
}

var captured = regexp.MustCompile(`\(\?P<(\w+)>[^)]*\)`)

// shownPath is a path as the pages write it, such as secrets/NAME.
func shownPath(path *framework.Path) string {
	shown := captured.ReplaceAllStringFunc(path.Pattern, func(group string) string {
		switch name := captured.FindStringSubmatch(group)[1]; name {
		case "path":
			return "NAME"
		case "version":
			return "N"
		default:
			return strings.ToUpper(name)
		}
	})
	return strings.TrimSuffix(strings.Trim(shown, "^$"), "?")
}

// readFields are the names of the fields that an operation reads.
func readFields(path *framework.Path, op logical.Operation) []string {
	var fields []string
	for field := range path.Fields {
		if reads(path, op, field) {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	return fields
}

// narrow leaves each field in the OpenAPI document only where it is read. The framework offers the
// fields with Query on every operation of their path.
func narrow(doc *framework.OASDocument) {
	for _, item := range doc.Paths {
		if item.Delete != nil {
			item.Delete.Parameters = nil
		}
		if item.Get == nil {
			continue
		}
		for _, write := range []*framework.OASOperation{item.Post, item.Patch} {
			if write == nil || write.RequestBody == nil {
				continue
			}
			name := strings.TrimPrefix(write.RequestBody.Content["application/json"].Schema.Ref, "#/components/schemas/")
			for _, parameter := range item.Get.Parameters {
				delete(doc.Components.Schemas[name].Properties, parameter.Name)
			}
		}
	}
}
