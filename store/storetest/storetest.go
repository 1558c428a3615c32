// Package storetest is the suite that every store.Store passes.
//
// A store's own tests call Run with a function that opens the store. What the
// suite holds a store to is the contract in package store, nothing about files
// or tables. It refuses to run outside tests, because it writes made-up events.
package storetest

import (
	"testing"

	"github.com/blindai-go/blindai/store"
)

// An Open returns the store in the place called place, a path that exists in
// the file system of the test and nowhere else. A new place is empty. After
// Close, the same place holds what was stored there. Run closes what it opens.
type Open func(t *testing.T, place string) store.Store

// Run runs the suite. Each test opens a place of its own.
func Run(t *testing.T, open Open) {
	if !testing.Testing() {
		panic("storetest: Run was called outside a test")
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"Define", testDefine},
		{"DefineRefuses", testDefineRefuses},
		{"DefineExtends", testDefineExtends},
		{"AppendEveryKind", testAppendEveryKind},
		{"AppendIsAllOrNothing", testAppendIsAllOrNothing},
		{"AppendReusesSlices", testAppendReusesSlices},
		{"AppendMany", testAppendMany},
		{"AppendIsSeenAtOnce", testAppendIsSeenAtOnce},
		{"AppendSmall", testAppendSmall},
		{"AppsAreApart", testAppsAreApart},
		{"List", testList},
		{"ListStops", testListStops},
		{"Ask", testAsk},
		{"AskEveryKind", testAskEveryKind},
		{"AskRefuses", testAskRefuses},
		{"AskRefinesSteps", testAskRefinesSteps},
		{"SeenIntervals", testSeenIntervals},
		{"SeenForeign", testSeenForeign},
		{"SeenStops", testSeenStops},
		{"Senders", testSenders},
		{"Holds", testHolds},
		{"Erase", testErase},
		{"EraseMany", testEraseMany},
		{"EraseAndReturn", testEraseAndReturn},
		{"EraseAtOnce", testEraseAtOnce},
		{"Reopen", testReopen},
		{"ReadWhileWriting", testReadWhileWriting},
		{"Cancelled", testCancelled},
		{"Close", testClose},
		{"CloseWaits", testCloseWaits},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}
