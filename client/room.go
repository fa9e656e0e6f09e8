package client

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"golang.org/x/sync/semaphore"
)

const (
	// maxAnswer bounds the bytes of an answer. One secret with 100 versions of 64 KiB in base64
	// has under 9 MB; of a whole page of such secrets the values must be asked for in parts.
	maxAnswer = 16 << 20
	// small is the size in bytes up to which an answer needs no room: the buffers of its connection take as much.
	small = 16 << 10
	// untold is the room in bytes for an answer that does not tell its length, until it has more: a page of
	// secrets without values has under 100 KB.
	untold = 256 << 10
)

// Room bounds the bytes of the answers that are held at the same time, from when they are read until they
// are decoded. Whoever comes first is let in first. Small answers, such as a secret of few versions, are not
// counted: they never wait.
type Room struct {
	size   int64
	free   *semaphore.Weighted
	within *Room
}

// NewRoom makes room for so many bytes, and for one answer that has more. If within is not nil, what is in
// the room is in that one too: clients with a room of their own inside a shared one leave some of it to the
// others, however long their answers take.
func NewRoom(bytes int64, within *Room) *Room {
	return &Room{bytes, semaphore.NewWeighted(bytes), within}
}

// enter waits for room for so many bytes, and returns the function that gives it back.
func (r *Room) enter(ctx context.Context, bytes int64) (leave func(), err error) {
	if r == nil {
		return func() {}, nil
	}
	n := min(bytes, r.size)
	if err := r.free.Acquire(ctx, n); err != nil {
		return nil, err
	}
	leaveOuter, err := r.within.enter(ctx, bytes)
	if err != nil {
		r.free.Release(n)
		return nil, err
	}
	return func() { leaveOuter(); r.free.Release(n) }, nil
}

// body is an answer's. It is in the room until it is closed.
type body struct {
	bytes []byte // never nil if it was read
	room  *Room
	leave func()
}

// read reads an answer of at most so many bytes. A larger one is not read to its end, and if it tells its
// length not at all. Before more is read than a small answer has, there is room for it.
func (b *body) read(resp *http.Response, most int64) (err error) {
	b.close()
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	tooLarge := errTooLarge
	if most < maxAnswer {
		tooLarge = errOverMost
	}
	length := resp.ContentLength // -1: not told
	if length > most {
		return tooLarge
	}
	var buf bytes.Buffer
	buf.Grow(int(min(max(0, length), small)) + bytes.MinRead)
	_, err = io.CopyN(&buf, resp.Body, min(small, most))
	if err == nil && length != small {
		if length > 0 {
			if err := b.enter(resp, length); err != nil {
				return err
			}
			buf.Grow(int(length) - buf.Len() + bytes.MinRead)
			_, err = buf.ReadFrom(resp.Body)
		} else {
			err = b.readUntold(resp, &buf, most)
		}
	}
	switch {
	case err != nil && err != io.EOF: // io.EOF is the end of a small answer
		return err
	case int64(buf.Len()) > most:
		return tooLarge
	case parts(buf.Bytes()) > maxParts:
		return errTooLarge
	}
	b.bytes = buf.Bytes()
	return nil
}

// readUntold reads the rest of an answer that does not tell its length. One that turns out to be large leaves
// the room before it waits for more of it, so that no two wait for each other.
func (b *body) readUntold(resp *http.Response, buf *bytes.Buffer, most int64) error {
	for _, size := range []int64{min(untold, most), most} {
		b.close()
		if err := b.enter(resp, size); err != nil {
			return err
		}
		// It allocates less than a buffer that doubles.
		all, err := io.ReadAll(io.MultiReader(buf, io.LimitReader(resp.Body, size+1-int64(buf.Len()))))
		*buf = *bytes.NewBuffer(all)
		if err != nil || int64(len(all)) <= size || size == most {
			return err
		}
	}
	return nil
}

func (b *body) enter(resp *http.Response, size int64) (err error) {
	if b.leave, err = b.room.enter(resp.Request.Context(), size); err != nil {
		return errNoRoom
	}
	return nil
}

func (b *body) close() {
	if b.leave != nil {
		b.leave()
	}
	b.bytes, b.leave = nil, nil
}

// maxParts bounds the commas between an answer's parts: decoded, "{}," takes hundreds of times its size. A
// page of 100 secrets with 100 versions each has under 100,000.
const maxParts = 1 << 17

// parts counts the commas outside of JSON strings.
func parts(body []byte) int {
	n, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			n++
		}
	}
	return n
}
