package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Commands such as `app add` reach a running collector by a socket in its data
// folder. It speaks HTTP and JSON. Whoever can open it owns the folder already,
// so it asks for no key:
//
//	GET  /apps          the apps
//	POST /apps/add      {"name", "plan"}; the keys
//	POST /apps/update   {"name", "plan"}; the app
//	POST /apps/rotate   {"name", "api_key": true, "secret_key": true}; the new keys
//	POST /apps/remove   {"name"}
//	POST /apps/publish  {"name", "facts"}
//	POST /apps/describe {"name"}; its plan and its facts
//
// A refusal has a status other than 200 and {"code", "error"}.

const socketName = "admin.sock"

// maxOrder bounds a request on the socket. The largest plan fits.
const maxOrder = 16 << 20

// Listen opens the socket of the folder, which is for its owner only. What a
// process that was killed has left is replaced: the lock of the folder says that
// none runs. Run with a umask that leaves others nothing, so that the socket is
// closed to them from its first moment.
func (f *Folder) Listen() (net.Listener, error) {
	path := filepath.Join(f.dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the socket for commands: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("close the socket for commands to others: %w", err)
	}
	return l, nil
}

// An order is the body of a POST.
type order struct {
	Name   string          `json:"name"`
	Plan   json.RawMessage `json:"plan,omitempty"`
	API    bool            `json:"api_key,omitempty"`
	Secret bool            `json:"secret_key,omitempty"`
	Facts  *privacy.Facts  `json:"facts,omitempty"`
}

// AdminHandler answers on the socket, and belongs nowhere else.
func (c *Collector) AdminHandler() http.Handler {
	apps := c.Apps()
	mux := http.NewServeMux()
	handle := func(pattern string, f func(ctx context.Context, o order) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := any(nil), errors.New("the command did not arrive whole")
			var o order
			b, readErr := io.ReadAll(io.LimitReader(r.Body, maxOrder))
			if readErr == nil && (len(b) == 0 || json.Unmarshal(b, &o) == nil) {
				answer, err = f(r.Context(), o)
			}
			if err != nil {
				// To the owner it is said as it is.
				writeError(w, &amplitude.Response{Code: http.StatusConflict, Error: err.Error()})
				return
			}
			writeJSON(w, answer)
		})
	}
	handle("GET /apps", func(ctx context.Context, _ order) (any, error) { return apps.List(ctx) })
	handle("POST /apps/add", func(ctx context.Context, o order) (any, error) {
		p, err := plan.Parse(o.Plan)
		if err != nil {
			return nil, err
		}
		return apps.Add(ctx, o.Name, p)
	})
	handle("POST /apps/update", func(ctx context.Context, o order) (any, error) {
		p, err := plan.Parse(o.Plan)
		if err != nil {
			return nil, err
		}
		return apps.Update(ctx, o.Name, p)
	})
	handle("POST /apps/rotate", func(ctx context.Context, o order) (any, error) { return apps.Rotate(ctx, o.Name, o.API, o.Secret) })
	handle("POST /apps/remove", func(ctx context.Context, o order) (any, error) { return struct{}{}, apps.Remove(ctx, o.Name) })
	handle("POST /apps/publish", func(ctx context.Context, o order) (any, error) {
		if o.Facts == nil {
			return nil, errors.New("the command did not arrive whole")
		}
		return struct{}{}, apps.Publish(ctx, o.Name, o.Facts)
	})
	handle("POST /apps/describe", func(ctx context.Context, o order) (any, error) { return apps.Describe(ctx, o.Name) })
	handle("/", func(context.Context, order) (any, error) {
		return nil, errors.New("the running collector does not know this command; it may be of another version")
	})
	return mux
}

// A remote manages the apps of a collector by its socket.
type remote struct{ client http.Client }

// dial returns nil if no collector listens in the folder.
func dial(ctx context.Context, dir string) Apps {
	connect := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, socketName))
	}
	conn, err := connect(ctx, "", "")
	if err != nil {
		return nil
	}
	conn.Close()
	return &remote{http.Client{Transport: &http.Transport{DialContext: connect}}}
}

func (r *remote) List(ctx context.Context) (infos []AppInfo, err error) {
	err = r.do(ctx, http.MethodGet, "", order{}, &infos)
	return infos, err
}

func (r *remote) Add(ctx context.Context, name string, p *plan.Plan) (keys Keys, err error) {
	err = r.do(ctx, http.MethodPost, "/add", order{Name: name, Plan: p.JSON()}, &keys)
	return keys, err
}

func (r *remote) Update(ctx context.Context, name string, p *plan.Plan) (info AppInfo, err error) {
	err = r.do(ctx, http.MethodPost, "/update", order{Name: name, Plan: p.JSON()}, &info)
	return info, err
}

func (r *remote) Rotate(ctx context.Context, name string, api, secret bool) (keys Keys, err error) {
	err = r.do(ctx, http.MethodPost, "/rotate", order{Name: name, API: api, Secret: secret}, &keys)
	return keys, err
}

func (r *remote) Remove(ctx context.Context, name string) error {
	return r.do(ctx, http.MethodPost, "/remove", order{Name: name}, &struct{}{})
}

func (r *remote) Publish(ctx context.Context, name string, facts *privacy.Facts) error {
	return r.do(ctx, http.MethodPost, "/publish", order{Name: name, Facts: facts}, &struct{}{})
}

func (r *remote) Describe(ctx context.Context, name string) (d Description, err error) {
	err = r.do(ctx, http.MethodPost, "/describe", order{Name: name}, &d)
	return d, err
}

func (r *remote) Close() error {
	r.client.CloseIdleConnections()
	return nil
}

func (r *remote) do(ctx context.Context, method, what string, o order, answer any) error {
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("ask the running collector: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://collector/apps"+what, bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("ask the running collector: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running collector: %w", err)
	}
	defer resp.Body.Close()
	b, err = io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the running collector's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return refused{amplitude.ParseResponse(b).Error}
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("read the running collector's answer: %w", err)
	}
	return nil
}

// refused is what a running collector answers to an order that it does not
// carry out. It is the same error as it was there, for errors.Is.
type refused struct{ text string }

func (r refused) Error() string { return r.text }

func (r refused) Is(target error) bool {
	switch target {
	case ErrAppExists, ErrKeyTaken, ErrNoApp, ErrPlanVersion, store.ErrPlan:
		return strings.Contains(r.text, target.Error())
	}
	return false
}
