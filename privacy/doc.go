// Package privacy writes what is published about an app's telemetry: the page
// that says what is collected, why, and how to have it erased; the record of
// processing that the GDPR asks of who is responsible; and figures in which
// no reader finds anybody.
//
// What is collected is taken from the plan, so that no page promises something
// else than what runs. What a program cannot know, such as who is responsible and
// why, is stated by the maintainer as Facts; where nothing is stated, the page
// says so.
//
// Pages have no script and load nothing. The package asks no network and no
// database by itself. Start from Subject, and ParseFacts.
package privacy
