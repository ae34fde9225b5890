// Package baseline is what go-chat is compared with: the chat server of the textbooks on gorilla/websocket, with a
// goroutine and a bounded channel for each connection, and prepared frames, so that a message is encoded once. It speaks
// as much of chat.v1 as the load generator needs.
//
// It promises nothing: a message is in no database, `accepted` says only that it was queued, and a room begins empty. A
// member who does not read holds up its room, once its channel is full; to drop it, as many such servers do, would make
// the comparison one of different work.
//
// [Server.Run] owns the listener; each connection owns a goroutine that reads and one that writes.
package baseline

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// queued is how many frames a connection's channel holds, as in gorilla's own chat example.
const queued = 256

const stopWithin = 5 * time.Second

// Server is the broadcaster. The zero value is ready.
type Server struct {
	mu      sync.Mutex // guards the fields below
	rooms   map[string]*room
	members map[*member]struct{}
	wg      sync.WaitGroup
}

type room struct {
	mu      sync.Mutex // guards the fields below, and keeps every member's order the same
	head    int64
	members map[*member]struct{}
}

type member struct {
	conn *websocket.Conn
	name string
	out  chan *websocket.PreparedMessage
	gone chan struct{} // closed when it reads no more
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context, lis net.Listener) error {
	s.rooms, s.members = make(map[string]*room), make(map[*member]struct{})
	up := websocket.Upgrader{Subprotocols: []string{frame.Protocol}, WriteBufferPool: new(sync.Pool), ReadBufferSize: 1 << 10, WriteBufferSize: 4 << 10}
	srv := &http.Server{ReadHeaderTimeout: stopWithin, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := up.Upgrade(w, r, nil); err == nil {
			s.start(ctx, conn)
		}
	})}
	end := context.AfterFunc(ctx, func() {
		_ = srv.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for m := range s.members {
			_ = m.conn.Close()
		}
	})
	defer end()
	err := srv.Serve(lis)
	s.wg.Wait()
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Server) start(ctx context.Context, conn *websocket.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		_ = conn.Close()
		return
	}
	m := &member{conn: conn, out: make(chan *websocket.PreparedMessage, queued), gone: make(chan struct{})}
	s.members[m] = struct{}{}
	s.wg.Go(func() { s.read(m) })
	s.wg.Go(m.write)
}

// write is the connection's writer: a frame from the channel, a write.
func (m *member) write() {
	defer m.conn.Close() // ends the reader too
	for {
		select {
		case p := <-m.out:
			if err := m.conn.WritePreparedMessage(p); err != nil {
				return
			}
		case <-m.gone:
			return
		}
	}
}

func (s *Server) read(m *member) {
	joined := make(map[string]*room)
	defer func() {
		close(m.gone)
		_ = m.conn.Close()
		for _, r := range joined {
			r.mu.Lock()
			delete(r.members, m)
			r.mu.Unlock()
		}
		s.mu.Lock()
		delete(s.members, m)
		s.mu.Unlock()
	}()
	for {
		_, b, err := m.conn.ReadMessage()
		if err != nil {
			return
		}
		in, ferr := frame.Parse(b)
		if ferr != nil {
			m.send(prepared(frame.Encode(ferr)))
			continue
		}
		switch in.Type {
		case frame.TypeHello:
			m.name = in.Name
			m.send(prepared(frame.Encode(frame.Welcome{
				Type: frame.TypeWelcome, Protocol: frame.Protocol, User: in.Name, Epoch: "baseline", Server: "baseline",
			})))
		case frame.TypeJoin:
			r := s.room(in.Room)
			joined[in.Room] = r
			r.join(m, in)
		case frame.TypeSend:
			if r := joined[in.Room]; r != nil {
				r.broadcast(m, in)
			} else {
				m.send(prepared(frame.Encode(frame.Errorf(frame.NotJoined, in.ID, "join the room first"))))
			}
		}
	}
}

func (s *Server) room(name string) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[name]
	if r == nil {
		r = &room{members: make(map[*member]struct{})}
		s.rooms[name] = r
	}
	return r
}

func (r *room) join(m *member, in frame.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members[m] = struct{}{}
	m.send(prepared(frame.Encode(frame.Joined{
		Type: frame.TypeJoined, ID: in.ID, Room: in.Room, Epoch: "baseline", Head: r.head, Stored: r.head, Members: []string{}, Count: len(r.members),
	})))
}

// broadcast gives the message its place, queues it for every member, and tells the sender.
func (r *room) broadcast(from *member, in frame.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head++
	e := frame.Event{Seq: r.head, Kind: "message", ID: in.ID, From: from.name, SentAt: time.Now().UTC().Truncate(time.Millisecond), Text: in.Text}
	shared := prepared(frame.AppendEvents(nil, in.Room, [][]byte{frame.Encode(e)}))
	for m := range r.members {
		m.send(shared)
	}
	from.send(prepared(frame.Encode(frame.Accepted{Type: frame.TypeAccepted, ID: in.ID, Room: in.Room, Seq: e.Seq, SentAt: e.SentAt})))
}

// send waits while the channel is full.
func (m *member) send(p *websocket.PreparedMessage) {
	select {
	case m.out <- p:
	case <-m.gone:
	}
}

func prepared(b []byte) *websocket.PreparedMessage {
	p, err := websocket.NewPreparedMessage(websocket.TextMessage, b)
	if err != nil {
		panic("a text frame of " + strconv.Itoa(len(b)) + " bytes: " + err.Error()) // it writes to memory only
	}
	return p
}
