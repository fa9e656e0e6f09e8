package simulator

import (
	"fmt"
	"net/http"
)

// apiError is an error as ABEJA answers it.
type apiError struct {
	status            int
	code, description string
	detail            any
	retryAfter        string
}

func (e *apiError) answer() answer {
	a := jsonAnswer(e.status, map[string]any{
		"error":             e.code,
		"error_description": e.description,
		"error_detail":      e.detail,
	})
	a.retryAfter = e.retryAfter
	return a
}

func badRequest(format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, code: "bad_request", description: fmt.Sprintf(format, args...)}
}

func badField(field, format string, args ...any) *apiError {
	err := badRequest(format, args...)
	err.detail = []map[string]string{{"field": field}}
	return err
}

// unknown refuses an id that does not exist or that belongs to another organization: nobody learns
// which of the two it is.
func (s *Simulator) unknown(what, id string) *apiError {
	if s.behavior.UnknownIDIs403 {
		return &apiError{status: http.StatusForbidden, code: "forbidden", description: fmt.Sprintf("no access to %s %s", what, id)}
	}
	return &apiError{status: http.StatusNotFound, code: "not_found", description: fmt.Sprintf("%s %s not found", what, id)}
}
