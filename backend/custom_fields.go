package backend

import (
	"maps"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// The limits of KV version 2.
const (
	maxCustomKeys  = 64
	maxCustomKey   = 128
	maxCustomValue = 512
)

var errTooManyKeys = badRequest("custom_metadata must be at most %d keys, those that stay included", maxCustomKeys)

// descriptionKey is the key of custom metadata that is the secret's description at ABEJA.
const descriptionKey = "description"

// customChange is what a write says of custom metadata. A nil one says nothing.
type customChange struct {
	merges bool               // into what there is, in place of which it stands otherwise
	keys   map[string]*string // nil removes
}

// on returns what there is afterwards.
func (change *customChange) on(keys map[string]string) map[string]string {
	if change == nil {
		return keys
	}
	out := make(map[string]string)
	if change.merges {
		maps.Copy(out, keys)
	}
	for key, value := range change.keys {
		if value == nil {
			delete(out, key)
		} else {
			out[key] = *value
		}
	}
	return out
}

// parseCustom checks the custom_metadata of a write or patch, as KV version 2 does. Other than there, no
// message repeats what was given.
func parseCustom(raw any, patch bool) (*customChange, error) {
	given, isMap := raw.(map[string]any)
	if raw != nil && !isMap {
		return nil, badRequest("custom_metadata must be a map")
	}
	change := &customChange{merges: patch && raw != nil, keys: make(map[string]*string, len(given))}
	if len(given) > maxCustomKeys {
		return nil, errTooManyKeys
	}
	for key, value := range given {
		if key == "" || len(key) > maxCustomKey || !printable(key) {
			return nil, badRequest("custom_metadata's keys must be printable text of 1 to %d bytes", maxCustomKey)
		}
		if value == nil && patch {
			change.keys[key] = nil
			continue
		}
		text, ok := customText(value)
		switch {
		case key == descriptionKey && (!ok || text == "" || len(text) > maxDescription):
			return nil, badRequest("custom_metadata's description must be text of 1 to %d bytes", maxDescription)
		case key != descriptionKey && (!ok || text == "" || len(text) > maxCustomValue || !printable(text)):
			return nil, badRequest("custom_metadata's values must be printable text of 1 to %d bytes", maxCustomValue)
		}
		change.keys[key] = &text
	}
	return change, nil
}

// description takes the description out of the change, and returns what it becomes; nil if it stays.
func (change *customChange) description() *string {
	if change == nil {
		return nil
	}
	text, given := change.keys[descriptionKey]
	delete(change.keys, descriptionKey)
	if text == nil && (given || !change.merges) {
		return new(string)
	}
	return text
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// customText is the text that KV version 2 makes of a value, if it makes any and Vault has it exactly.
func customText(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case bool:
		if value {
			return "1", true
		}
		return "0", true
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), math.Abs(value) < 1<<53
	}
	return "", false
}

func shownCustom(keys map[string]string, description string) any {
	shown := make(map[string]any, len(keys)+1)
	for key, value := range keys {
		shown[key] = value
	}
	if description != "" {
		shown[descriptionKey] = description
	}
	if len(shown) == 0 {
		return nil
	}
	return shown
}
