// Package telemetry lets a program tell its maintainers how it is used, and
// makes it impossible for it to tell them anything else.
//
// A program declares a plan: its events, and the fields that each of them has.
// Every field has a kind (a size, a count, a flag, one of a few declared
// words), and there is no kind for free text, so the compiler refuses to write
// a string into an event:
//
//	c := telemetry.New("coffee", 1)
//	brewed := telemetry.NewEvent2(c, "brewed", "A cup was brewed.",
//		telemetry.EnumField[Size]("size", "Size of the cup.", "small", "large"),
//		telemetry.CountField("sugar", "Lumps of sugar."))
//
//	if err := c.Open(telemetry.Config{Version: "1.0.0", URL: url, APIKey: key, StateDir: dir, EnvVar: "COFFEE_NO_TELEMETRY"}); err != nil { ... }
//	defer c.Close(context.Background())
//
//	brewed.Record(Large, 2)
//
// Recording never fails and never waits: it writes a record of fixed size into a
// bounded queue and allocates nothing. When the queue is full the newest event is
// dropped, and the drop is counted (see Stats). Every two seconds the client
// looks; if there is something new it is sent in Amplitude's HTTP V2 format,
// otherwise no connection is opened. Events carry an insert_id that is made once,
// so that a collector counts them once however often they had to be sent.
//
// With a state folder (Config.StateDir) the queue is a mapped file: an event
// survives the end of the process, also by SIGKILL, as soon as Record has
// returned, and the next start sends it. A power cut may lose the last seconds.
// Where files cannot be mapped (a full or read-only disk, Windows), events wait in
// memory, and the log says so once.
//
// Close sends what waits, within one budget; a program that must end at once
// closes with a context that is done, and the next start delivers.
//
// Where the clock is wrong beyond doubt (before 2010 or after 2100, which no plan takes
// as a time), events are sent without a time.
//
// The first start on an empty state folder accepts the plan. What a later version declares
// beyond it is held back (events are not recorded, fields not sent) until the owner of
// the folder accepts it with the command `on`; see Client.HeldBack.
//
// A session with a state folder answers the commands over a Unix socket in it: what
// waits, what was sent and how it was answered, and an end of the session when it is
// to be forgotten, after which the program goes on with a new one. Where no socket can be
// had it works without one; the log and the commands say so.
//
// The key of a collector that signs its receipts is pinned at first contact, and
// receipts are checked against it when they come and offline at any time.
//
// One function, Decide, says whether telemetry is on. When it is off there is
// no goroutine, no file, no name look-up and no socket. Config.Consent chooses
// what happens before anybody has made a choice; Command lets people see what is
// sent, make that choice, accept a plan, and erase.
//
// The package depends on the standard library only.
package telemetry
