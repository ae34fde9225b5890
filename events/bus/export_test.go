package bus

// BeforeAck lets a test stand between the confirm of a replayed event and the acknowledgement of its letter.
func (q *PoisonQueue) BeforeAck(f func()) { q.beforeAck = f }
