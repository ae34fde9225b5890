package chatroom

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/chatroom/store"
)

// Handler serves /ws and its twin over HTTP below /v1/.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", s.serveWS)
	mux.HandleFunc("POST /v1/rooms/{room}/messages", s.postMessage)
	mux.HandleFunc("GET /v1/rooms/{room}/events", s.getEvents)
	return mux
}

// HTTPServer returns a server with the deadlines that suit [Server.Handler]: each answer is small and soon there, and a
// WebSocket has deadlines of its own from the upgrade on.
func HTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute,
	}
}

// serveWS upgrades and returns: the buffers and the stack of the handler are freed while the connection lives.
func (s *Server) serveWS(w http.ResponseWriter, r *http.Request) {
	if !s.admit() {
		s.writeError(w, frame.Errorf(frame.Unavailable, "", "the server is full or stopping"))
		return
	}
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil { // it has answered
		s.dismiss()
		return
	}
	newSession(s, conn).start(s.dismiss)
}

// postMessage is a send.
func (s *Server) postMessage(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(r) {
		s.writeError(w, frame.Errorf(frame.Forbidden, "", "pages of this origin may not send here"))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, frame.MaxFrame))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		s.writeError(w, frame.Errorf(frame.TooLarge, "", "a body is at most %d bytes", frame.MaxFrame))
		return
	case err != nil:
		s.writeError(w, frame.Errorf(frame.BadRequest, "", "the body could not be read"))
		return
	}
	in, ferr := parsePost(r, body)
	if ferr != nil {
		s.writeError(w, ferr)
		return
	}
	if wait, ok := s.rates.take(in.Sender); !ok {
		s.writeError(w, rateLimited(in.ID, wait))
		return
	}
	type result struct {
		receipt store.Receipt
		err     error
	}
	answer := make(chan result, 1)
	err = s.acceptor.submit(r.Context(), pending{
		send: in, done: func(rec store.Receipt, err error) { answer <- result{rec, err} },
	})
	if err != nil {
		s.writeError(w, s.refuse(in.ID, err))
		return
	}
	select {
	case res := <-answer:
		switch out := s.outcome(in.ID, in.Room, res.receipt, res.err).(type) {
		case *frame.Error:
			s.writeError(w, out)
		case frame.Accepted:
			status := http.StatusCreated
			if out.Duplicate {
				status = http.StatusOK
			}
			writeJSON(w, status, out)
		}
	case <-r.Context().Done(): // nobody waits for the answer
	}
}

// parsePost reads a send from a request.
func parsePost(r *http.Request, body []byte) (store.Send, *frame.Error) {
	in := store.Send{Room: r.PathValue("room"), ID: r.Header.Get("Idempotency-Key")}
	if !utf8.ValidString(in.ID) || !frame.ValidID(in.ID) {
		return in, frame.Errorf(frame.BadRequest, "", "the header Idempotency-Key must have 1 to %d characters", frame.MaxID)
	}
	if !frame.ValidRoom(in.Room) {
		return in, frame.Errorf(frame.BadRequest, in.ID, "room must be 1 to %d of letters, digits, '.', '_', '-'", frame.MaxRoom)
	}
	var err *frame.Error
	in.Sender, in.Text, err = frame.ParsePost(in.ID, body)
	return in, err
}

// getEvents is a page of history.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	room := r.PathValue("room")
	if !frame.ValidRoom(room) {
		s.writeError(w, frame.Errorf(frame.BadRequest, "", "room must be 1 to %d of letters, digits, '.', '_', '-'", frame.MaxRoom))
		return
	}
	after, err1 := queryInt(r, "after")
	before, err2 := queryInt(r, "before")
	limit, err3 := queryInt(r, "limit")
	if err := errors.Join(err1, err2, err3); err != nil {
		s.writeError(w, frame.Errorf(frame.BadRequest, "", "%s", err))
		return
	}
	n := frame.DefaultTail
	if limit != nil {
		n = int(max(-1, min(*limit, frame.MaxHistory+1)))
	}
	if ferr := frame.CheckPage("", after, before, n); ferr != nil {
		s.writeError(w, ferr)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), openTimeout)
	defer cancel()
	page, err := s.page(ctx, room, after, before, n)
	if err != nil {
		s.writeError(w, s.refuse("", err))
		return
	}
	writeJSON(w, http.StatusOK, page)
}

func queryInt(r *http.Request, name string) (*int64, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return nil, errors.New(name + " must be a whole number")
	}
	return &n, nil
}

// statuses is the one table from codes to HTTP statuses.
var statuses = map[frame.Code]int{
	frame.BadRequest: http.StatusBadRequest, frame.UnknownType: http.StatusBadRequest,
	frame.Unauthorized: http.StatusUnauthorized, frame.Forbidden: http.StatusForbidden,
	frame.NotJoined: http.StatusForbidden, frame.TooLarge: http.StatusRequestEntityTooLarge,
	frame.RateLimited: http.StatusTooManyRequests, frame.IDConflict: http.StatusConflict,
	frame.Unavailable: http.StatusServiceUnavailable, frame.Internal: http.StatusInternalServerError,
}

func (s *Server) writeError(w http.ResponseWriter, e *frame.Error) {
	if e.RetryAfterMS > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt((e.RetryAfterMS+999)/1000, 10))
	} else if e.Code == frame.Unavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, statuses[e.Code], e)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(frame.Encode(v), '\n')) // the client may be gone
}
