// Package store says what it means to keep events: the records that go in, the
// questions that can be asked, and the small interface that every database
// behind it fulfils.
//
// It holds no database. store/duckdb is the one for a single machine;
// storetest is the suite that each of them passes.
package store

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// A Record is one event that has passed the guard. Every value in it was
// accepted by the app's plan; nothing else of the request is left.
type Record struct {
	// ID is the sender's. It is kept apart from the rows, so that erasing it
	// does not wait for them. Hyphens tells how the sender wrote it.
	ID      plan.ID
	Hyphens bool

	// Insert tells this event from every other of the app.
	Insert InsertID

	// Event is the index of the event in the plan's Events.
	Event int

	// Time is when it happened, as the sender says; Received is when it
	// arrived here. Milliseconds since 1970 UTC.
	Time, Received int64

	// Session holds a value for each of the plan's SessionColumns and Own one
	// for each of its EventColumns, in their order.
	Session, Own []plan.Value
}

// An InsertID is an event's idempotency key. Senders that use our library count
// their events, and the count is the key together with the sender's ID; others
// send a random UUID.
type InsertID struct {
	Own     bool    // Seq counts, Foreign is zero
	Seq     int64   // from 0
	Foreign plan.ID // a UUID as it came, or the first 16 bytes of SHA-256 of any other text
}

// Seen tells what is stored of one sender, for recognising repeats.
type Seen struct {
	ID plan.ID

	// First and Last bound an interval of sequence numbers that are all
	// stored, both ends included; meaningful if Foreign is zero.
	First, Last int64

	Foreign  plan.ID // a foreign insert id
	Received int64   // of the foreign insert id; milliseconds since 1970 UTC
}

// Erased counts what an erasure removed.
type Erased struct {
	Events, Sessions int64
}

// A Measure is what a Question counts.
type Measure uint8

const (
	Events  Measure = iota // every event
	Uniques                // distinct senders: for BlindAI, runs of the server
)

// A Question is asked of one app's events. All of it can be put into a URL.
type Question struct {
	App string

	// From and To bound the event time: From is included, To is not.
	From, To time.Time

	Measure Measure

	// Event restricts to one event type. Empty means all.
	Event string

	// By groups: "event_type", or the name of a field that the plan declares
	// other than the identity and time. Empty means one series of all.
	By string

	// Every cuts the range into steps of this length, in UTC, the first step
	// holding From. 0 means one step for the whole range. At most MaxSteps.
	Every time.Duration

	// Limit keeps the series with the largest totals. 0 means DefaultLimit.
	Limit int
}

// MaxSteps bounds the length of a series: a year of hours. DefaultLimit is the
// number of series that a chart can show with distinct colours, and some more.
const (
	MaxSteps     = 366 * 24
	DefaultLimit = 100
)

// An Answer holds a value for every series and step. Steps without events hold
// 0. An Answer without series means that nothing matched.
type Answer struct {
	Starts []time.Time // of each step, UTC
	Series []Series    // largest total first; equal ones by label
}

// A Series is one line of an Answer.
type Series struct {
	Label  string // "" if the question groups by nothing; plan.None for a missing value
	Values []int64

	// Total is the count over the whole range. For Uniques it is less than the
	// sum of Values where a sender was active in several steps.
	Total int64
}

// A Listing chooses records to read back.
type Listing struct {
	App string

	// From and To bound the time received: From is included, To is not. Zero
	// means no bound.
	From, To time.Time

	// Limit is the most records to return. 0 means all.
	Limit int

	// Newest returns the newest first; otherwise the oldest come first. Records
	// that were received in one millisecond come in the order in which they
	// happened, and those that also happened in one, session by session; turned
	// round if Newest.
	Newest bool

	// ID restricts to one sender. The zero ID means all.
	ID plan.ID
}

// A Store keeps events. All methods are safe for concurrent use, except that
// Define, Append and Erase are called by one goroutine at a time (the
// collector's writer). Errors never hold a value of a record.
type Store interface {
	// Define makes room for the events of p.App. A plan that adds events or
	// fields to the stored one extends it; one that takes away or changes is
	// refused with ErrPlan. It is durable when it returns nil.
	Define(ctx context.Context, p *plan.Plan) error

	// Append stores all records or, on any error, none. It is durable when it
	// returns nil. The slices of the records may be reused after that.
	// ErrUnknownApp: the app was not defined.
	Append(ctx context.Context, app string, records []Record) error

	// Seen yields all that is stored of app: for each sender its intervals of
	// sequence numbers, and the foreign insert ids received since the given
	// time. It ends after the first error.
	Seen(ctx context.Context, app string, since time.Time) iter.Seq2[Seen, error]

	// Senders yields the id of every sender of which anything is stored, each
	// once, in no order. It ends after the first error.
	Senders(ctx context.Context, app string) iter.Seq2[plan.ID, error]

	// Holds reports whether anything of id may be stored. It answers from memory,
	// without a query. A sender whose first Append has failed may be held, too;
	// one whose erasure has begun need not be.
	Holds(ctx context.Context, app string, id plan.ID) (bool, error)

	// Erase removes every event and session of the senders ids from all answers,
	// and the ids themselves from every file, before it returns. What else their
	// rows held leaves the files some time later, at the latest when the store is
	// closed and has the time. It costs hardly more for many ids than for one;
	// how many is for the caller to bound.
	//
	// The counts are in the order of ids. An id that is not stored, or that stands
	// among them again, counts 0 and is no error. After an error there are no
	// counts, and what was begun is not forgotten: the same call again, the next
	// write, or the next start ends it, and answers may hide the senders already.
	// Until a start, whoever comes again for one of them, alone or beside others,
	// is told what was removed.
	Erase(ctx context.Context, app string, ids []plan.ID) ([]Erased, error)

	// Ask answers a question from what Append has stored. ErrUnknownApp and
	// ErrQuestion (a field that the plan does not declare, a range that is
	// empty or has too many steps) are the asker's faults.
	Ask(ctx context.Context, q Question) (*Answer, error)

	// List calls yield for each record. The record is valid during the call
	// only. An error of yield ends the listing and is returned as it is.
	List(ctx context.Context, l Listing, yield func(*Record) error) error

	// Close ends the store after the calls under way. Later calls return ErrClosed.
	Close() error
}

var (
	ErrUnknownApp = errors.New("the app is not defined in the store")
	ErrQuestion   = errors.New("the question cannot be asked")
	ErrPlan       = errors.New("the plan takes away or changes what is stored; a new version may only add")
	ErrInUse      = errors.New("the data folder is in use by another process; stop it, or choose another folder")
	ErrDamaged    = errors.New("a file of the store is damaged")
	ErrClosed     = errors.New("the store is closed")
)
