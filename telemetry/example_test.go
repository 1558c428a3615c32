package telemetry_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/blindai-go/blindai/telemetry"
)

// Size is an enum of the program's own: its constants stand for the declared
// words, in their order.
type Size uint8

const (
	Small Size = iota
	Large
)

// A program declares its plan, opens the client, and records. Without a
// destination telemetry is off, and recording does nothing.
func Example() {
	c := telemetry.New("coffee", 1)
	brewed := telemetry.NewEvent2(c, "brewed", "A cup was brewed.",
		telemetry.EnumField[Size]("size", "Size of the cup.", "small", "large"),
		telemetry.CountField("sugar", "Lumps of sugar."))

	if err := c.Open(telemetry.Config{Version: "1.0.0"}); err != nil {
		fmt.Println(err)
	}
	defer c.Close(context.Background())

	brewed.Record(Large, 2)
	fmt.Println(c.Decision().On)
	// Output: false
}

// A whole program: it keeps what erases, can be switched off, and has the command with
// which people see what is sent. The README shows these lines.
func Example_program() {
	ctx, url, key, dir := context.Background(), "https://collector.example", "key", "/var/lib/coffee"

	c := telemetry.New("coffee", 1)
	brewed := telemetry.NewEvent1(c, "brewed", "A cup was brewed.",
		telemetry.CountField("sugar", "Lumps of sugar."))
	cfg := telemetry.Config{Version: "1.0.0", URL: url, APIKey: key,
		StateDir: dir,                   // keeps the secrets that erase, and events that wait
		EnvVar:   "COFFEE_NO_TELEMETRY"} // switches it off, as DO_NOT_TRACK does
	if len(os.Args) > 1 && os.Args[1] == "telemetry" { // status, preview, off, forget ...
		os.Exit(telemetry.Command{Name: "coffee telemetry", Client: c, Config: cfg}.Run(ctx, os.Args[2:]))
	}
	if err := c.Open(cfg); err != nil {
		log.Print(err)
	}
	defer c.Close(ctx)

	brewed.Record(2) // brewed.Record("two, for Alice") does not compile
}

// The people who run a program see what it sends with a command that it mounts.
func ExampleCommand() {
	c := telemetry.New("coffee", 1)
	telemetry.NewEvent(c, "brewed", "A cup was brewed.")
	cmd := telemetry.Command{Name: "coffee telemetry", Client: c, Out: os.Stdout}
	cmd.Run(context.Background(), []string{"plan"})
	// Output:
	// FIELD           KIND       IN           WHAT IT SAYS
	// event_type      brewed     every event  What happened.
	// user_id         random_id  every event  A random id, made anew each time the program starts. Groups the events of one run; two runs have nothing in common.
	// app_version     version    every event  The version number of the program.
	// device_id       system     every event  The system that the program runs on: operating system and architecture, nothing else.
	// time            timestamp  every event  When the event happened, in milliseconds since 1970 UTC.
	// uptime          seconds    every event  For how many seconds the program had been running when the event happened.
	// insert_id                  delivery     user_id, a hyphen, and the number of the event in this run, so that a repeated request is not counted twice.
	// api_key                    delivery     Names the app to the collector; the same for all who run the program.
	// Host                       delivery     Request header: the host of the destination.
	// Content-Type               delivery     Request header: application/json.
	// Content-Length             delivery     Request header: the size of the request's body in bytes.
}

// What a program would send can be looked at before anything is sent.
func ExampleDecide() {
	d, err := telemetry.Decide(telemetry.Config{
		URL: "https://collector.example", APIKey: "key",
		Getenv: func(name string) string { return map[string]string{"DO_NOT_TRACK": "1"}[name] },
	})
	fmt.Println(d, err)
	// Output: off (the environment variable DO_NOT_TRACK is set) <nil>
}
