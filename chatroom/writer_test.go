package chatroom

import (
	"testing"
	"testing/synctest"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/chatroom/store/storetest"
)

// A flusher comes to a session while that says goodbye to a client who does not read. To wait there would hold up all readers
// of its lane.
func TestAFarewellHoldsUpNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, listen := serveSim(t, storetest.NewMemory())
		greet(t, listen, "ann")
		var s *session
		srv.mu.Lock()
		for s = range srv.live {
		}
		srv.mu.Unlock()
		s.cancel(&goodbye{code: frame.CloseShutdown, message: "shutdown"})
		s.interrupt()
		synctest.Wait()
		if s.written == nil {
			t.Fatal("it does not say goodbye yet")
		}
		if !s.mu.TryLock() {
			t.Fatal("a flusher would wait")
		}
		s.mu.Unlock()
	})
}
