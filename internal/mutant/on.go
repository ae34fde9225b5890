//go:build mutants

package mutant

import "os"

// Built tells whether this program can have bugs on purpose.
const Built = true

// Variable names the mutant that is switched on.
const Variable = "GOCHAT_MUTANT"

func on(name string) bool { return os.Getenv(Variable) == name }

// The bugs; internal/torture tells what each one is.
var (
	AsyncCommit           = on("async-commit")
	MarkBeforeConfirm     = on("mark-before-confirm")
	UnroutableIsPublished = on("unroutable-is-published")
	AckBeforeInsert       = on("ack-before-insert")
	ForgetPublished       = on("forget-published") || MarkBeforeConfirm || UnroutableIsPublished || AckBeforeInsert
	NoConflictClause      = on("no-conflict-clause")
	CursorOverIDs         = on("cursor-over-ids")
	NoRoomLock            = on("no-room-lock")
	NoIdempotencyKey      = on("no-idempotency-key")
	FetchBeforeSubscribe  = on("fetch-before-subscribe")
	PoisonOnShutdown      = on("poison-on-shutdown")
	FanoutNotRepaired     = on("fanout-not-repaired")
	UnknownIsRefused      = on("unknown-is-refused")
	MarkOverHoles         = on("mark-over-holes")
	SlowReaderSkips       = on("slow-reader-skips")
)
