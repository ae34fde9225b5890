//go:build !mutants

package mutant

// Built tells whether this program can have bugs on purpose.
const Built = false

// The bugs; internal/torture tells what each one is.
const (
	AsyncCommit           = false
	ForgetPublished       = false
	MarkBeforeConfirm     = false
	UnroutableIsPublished = false
	AckBeforeInsert       = false
	NoConflictClause      = false
	CursorOverIDs         = false
	NoRoomLock            = false
	NoIdempotencyKey      = false
	FetchBeforeSubscribe  = false
	PoisonOnShutdown      = false
	FanoutNotRepaired     = false
	UnknownIsRefused      = false
	MarkOverHoles         = false
	SlowReaderSkips       = false
)
