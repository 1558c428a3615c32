package inference

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/fxamacker/cbor/v2"
)

// A refusal is an error whose text is meant for the client. Any other error stays inside; the
// client gets unknownError for it.
type refusal string

func (r refusal) Error() string { return string(r) }

// refuse makes a refusal. Its arguments must not hold a value that was refused.
func refuse(format string, args ...any) error {
	return refusal(fmt.Sprintf(format, args...))
}

// The texts that clients know from the original. They look for these words, so what is added goes
// behind them.
const (
	tooBig       = refusal("Model is too big")
	noData       = refusal("Received no data")
	noModel      = refusal("Model doesn't exist")
	neitherGiven = refusal("You must provide at least one model_id or model_hash")
	bothGiven    = refusal("You cannot provide a model_id and a model_hash in the same time")
	unknownError = refusal("Unknown error")
)

// busy is what a client reads when there is no memory left for its request.
const busy = refusal("The server holds as many requests as it can; try again in a moment")

// reply writes one CBOR item with status 200, or the text of a refusal with status 500. Clients
// treat every other status from 400 on alike, and the original has no other.
func reply(w http.ResponseWriter, value any, err error) {
	status := http.StatusOK
	if err != nil {
		status = http.StatusInternalServerError
		text, ok := err.(refusal)
		if !ok {
			text = unknownError
		}
		value = string(text)
	}
	body, err := cbor.Marshal(value)
	if err != nil { // every value is made of texts, numbers and bytes
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/cbor")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) // a client that has gone needs no error
}
