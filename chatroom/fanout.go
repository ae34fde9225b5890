package chatroom

import (
	"github.com/rafaeldepontes/go-chat/events"
)

// broadcast tells the other replicas. It is best effort by design: they repair from the database what is lost, so
// nothing on the way of a message ever waits for it.
func (s *Server) broadcast(bodies ...[]byte) {
	if s.opts.Broadcast != nil && len(bodies) > 0 {
		s.opts.Broadcast(bodies...)
	}
}

// tell broadcasts what an encoder returned.
func (s *Server) tell(body []byte, err error) {
	if err != nil {
		s.log.Error("fan-out message not encoded", "error", err)
		return
	}
	s.broadcast(body)
}

// HandleFanout takes what another replica, or a persister, told. Only a malformed envelope is an error; it is safe for
// concurrent use and does no I/O.
func (s *Server) HandleFanout(e events.Envelope) error {
	switch e.Type {
	case events.TypeMessageSent:
		m, err := events.DecodeData[events.MessageSent](e)
		if err != nil {
			return err
		}
		s.hub.add(m.Room, toFrame(m))
		if s.opts.Heard != nil {
			s.opts.Heard(m.Room, m.Seq)
		}
	case events.TypeMessagesStored:
		m, err := events.DecodeData[events.MessagesStored](e)
		if err != nil {
			return err
		}
		s.stored(m.Rooms)
	case events.TypePresenceChanged:
		m, err := events.DecodeData[events.PresenceChanged](e)
		if err != nil {
			return err
		}
		s.presence.changed(m)
	case events.TypeTypingStarted:
		m, err := events.DecodeData[events.TypingStarted](e)
		if err != nil {
			return err
		}
		if m.Instance != s.opts.Instance {
			s.presence.showTyping(m.Room, m.From)
		}
	}
	return nil
}

// stored takes marks of the persister, announced or asked for: readers are told, and the outbox gives up its rows.
func (s *Server) stored(marks map[string]int64) {
	s.hub.setStored(marks)
	if s.opts.Stored != nil {
		s.opts.Stored(marks)
	}
}
