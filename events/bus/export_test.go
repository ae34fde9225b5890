package bus

// BeforeAck lets a test stand between the confirm of a replayed event and the acknowledgement of its letter.
func (q *PoisonQueue) BeforeAck(f func()) { q.beforeAck = f }

// Cut ends the connection from which the letters came, as the end of Scan's context does a moment later.
func (q *PoisonQueue) Cut() { _ = q.raw.Close() }
