package simulator

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"
)

const controlPrefix = "/_simulator/"

// controlHandler lets a person or a script with curl do what a test does with Go:
//
//	GET    /_simulator/requests       {"total":3,"counts":{"get_secret":3}}
//	DELETE /_simulator/requests       counts from zero
//	POST   /_simulator/faults         {"op":"get_secret","count":2,"kind":"status","status":503,"delay":"20ms"}
//	DELETE /_simulator/faults         removes all
//	GET    /_simulator/behavior       the switches
//	PUT    /_simulator/behavior       {"order":"hash"} changes the given ones
//	PUT    /_simulator/latency        {"latency":"20ms"}
//	GET    /_simulator/secrets        {"names":["demo_00001"]}
//	PUT    /_simulator/secrets/NAME   {"value":"text"} creates it, or adds a version; "versions":5 adds five
//	DELETE /_simulator/secrets/NAME   removes it
//	PUT    /_simulator/odd/NAME       {"kind":"bad_base64","version":2} makes its record odd, or a version's
//	PUT    /_simulator/tokens/TOKEN   makes it a personal access token of the user
//	DELETE /_simulator/tokens/TOKEN   revokes it
//
// What has nothing to tell answers 204. These requests are not counted.
func (s *Simulator) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_simulator/requests", func(w http.ResponseWriter, _ *http.Request) {
		s.requests.mu.Lock()
		counts, total := maps.Clone(s.requests.counts), s.requests.total
		s.requests.mu.Unlock()
		delete(counts, "")
		send(w, jsonAnswer(http.StatusOK, map[string]any{"total": total, "counts": counts}))
	})
	mux.HandleFunc("DELETE /_simulator/requests", func(w http.ResponseWriter, _ *http.Request) {
		s.ResetRequests()
		w.WriteHeader(http.StatusNoContent)
	})

	mux.HandleFunc("POST /_simulator/faults", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Fault
			Delay duration `json:"delay"`
		}
		err := decode(r, &in)
		if err == nil {
			in.Fault.Delay = time.Duration(in.Delay)
			err = s.faults.add(in.Fault)
		}
		done(w, err)
	})
	mux.HandleFunc("DELETE /_simulator/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})

	mux.HandleFunc("GET /_simulator/behavior", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		behavior := s.behavior
		s.mu.Unlock()
		send(w, jsonAnswer(http.StatusOK, behavior))
	})
	mux.HandleFunc("PUT /_simulator/behavior", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		behavior := s.behavior
		err := decode(r, &behavior)
		if err == nil {
			err = s.setBehavior(behavior)
		}
		done(w, err)
	})
	mux.HandleFunc("PUT /_simulator/latency", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Latency duration `json:"latency"`
		}
		err := decode(r, &in)
		if err == nil {
			s.SetLatency(time.Duration(in.Latency))
		}
		done(w, err)
	})

	mux.HandleFunc("GET /_simulator/secrets", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		names := slices.AppendSeq([]string{}, maps.Keys(s.byName))
		s.mu.Unlock()
		slices.Sort(names)
		send(w, jsonAnswer(http.StatusOK, map[string]any{"names": names}))
	})
	mux.HandleFunc("PUT /_simulator/secrets/{name}", func(w http.ResponseWriter, r *http.Request) {
		in := struct {
			Value    string `json:"value"`
			Versions int    `json:"versions"`
		}{Versions: 1}
		err := decode(r, &in)
		value := []byte(in.Value)
		for ; err == nil && in.Versions > 0; in.Versions-- {
			err = s.put(r.PathValue("name"), value)
		}
		done(w, err)
	})
	mux.HandleFunc("DELETE /_simulator/secrets/{name}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		sec, ok := s.byName[r.PathValue("name")]
		if !ok {
			http.Error(w, "no such secret", http.StatusNotFound)
			return
		}
		s.remove(sec)
		w.WriteHeader(http.StatusNoContent)
	})

	mux.HandleFunc("PUT /_simulator/odd/{name}", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Kind    Odd `json:"kind"`
			Version int `json:"version"`
		}
		err := decode(r, &in)
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			err = s.makeOdd(r.PathValue("name"), in.Kind, in.Version)
		}
		done(w, err)
	})

	mux.HandleFunc("PUT /_simulator/tokens/{token}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens[r.PathValue("token")] = true
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /_simulator/tokens/{token}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.tokens[r.PathValue("token")] {
			http.Error(w, "no such token", http.StatusNotFound)
			return
		}
		delete(s.tokens, r.PathValue("token"))
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// put creates a secret, or adds a version to it.
func (s *Simulator) put(name string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err *apiError
	if sec, ok := s.byName[name]; ok {
		_, err = s.addVersion(sec, value)
	} else {
		_, err = s.create(name, value)
	}
	if err != nil {
		return errors.New(err.description)
	}
	return nil
}

// duration is a Go duration such as "20ms" in JSON.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

func decode(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// done answers with the error, or with nothing.
func done(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
