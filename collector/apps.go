package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Apps manages the apps of a collector. What it changes counts at once and is
// durable when a method returns nil. It is safe for concurrent use.
type Apps interface {
	// List returns all apps by name.
	List(ctx context.Context) ([]AppInfo, error)

	// Add adds an app and returns its keys. The secret key cannot be had again.
	// ErrAppExists: the name is taken. store.ErrPlan: an app of that name was
	// removed, and the plan does not extend that of the events it has left.
	Add(ctx context.Context, name string, p *plan.Plan) (Keys, error)

	// Update gives an app a new version of its plan, which may only add.
	// ErrNoApp, ErrPlanVersion and store.ErrPlan leave it as it was.
	Update(ctx context.Context, name string, p *plan.Plan) (AppInfo, error)

	// Rotate makes a new API key, a new secret key, or both, and returns those
	// that are new. The old ones stop working.
	Rotate(ctx context.Context, name string, api, secret bool) (Keys, error)

	// Remove takes an app out: its keys stop working. What it has sent stays in
	// the store, where senders can still have it erased, and is there again if
	// an app of that name is added.
	Remove(ctx context.Context, name string) error

	// Publish states facts about an app, in place of those that were stated
	// before, for its privacy page and its record.
	Publish(ctx context.Context, name string, facts *privacy.Facts) error

	// Describe returns what the privacy page and the record of an app are made
	// from.
	Describe(ctx context.Context, name string) (Description, error)

	// Close ends it. Of a running collector it ends nothing.
	Close() error
}

// AppInfo says of an app what may be shown.
type AppInfo struct {
	Name   string `json:"name"`
	APIKey string `json:"api_key"`
	Plan   int    `json:"plan_version"`
}

// A Description is what is published about an app.
type Description struct {
	Plan  *plan.Plan     `json:"plan"`
	Facts *privacy.Facts `json:"facts"` // nil if nothing is stated
}

func (f *Folder) describe(name string) (Description, error) {
	a := f.App(name)
	if a == nil {
		return Description{}, ErrNoApp
	}
	return Description{a.Plan, a.Facts}, nil
}

func (a *App) info() AppInfo { return AppInfo{a.Name, a.APIKey, a.Plan.Version} }

func (f *Folder) infos() []AppInfo {
	infos := []AppInfo{}
	for _, a := range f.Apps() {
		infos = append(infos, a.info())
	}
	return infos
}

// startTime is how long OpenApps waits for whoever owns the folder to listen: a
// collector that has just been started opens its store first.
const startTime = 5 * time.Second

// OpenApps manages the apps of the collector that runs on a data folder or, if
// none runs, of the folder itself, which must be there: a mistyped name must not
// make a new one. Plans have to fit what is stored, so it may open the store in
// the folder; open is how.
func OpenApps[S store.Store](ctx context.Context, dir string, open func(ctx context.Context, dir string) (S, error)) (Apps, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, errors.New("the data folder is not there; name the collector's with --data, or start the collector once to make it")
	}
	for end := time.Now().Add(startTime); ; {
		if apps := dial(ctx, dir); apps != nil {
			return apps, nil
		}
		folder, err := OpenFolder(dir)
		if err == nil {
			return &folderApps{folder: folder, open: func(ctx context.Context) (store.Store, error) { return open(ctx, dir) }}, nil
		}
		if !errors.Is(err, store.ErrInUse) || time.Now().After(end) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Apps manages the apps of c while it serves. A change is a step between two
// commits. Requests that were checked before it are looked at again, so none of
// them is lost and none is stored by a plan that is not the app's any more.
func (c *Collector) Apps() Apps { return served{c} }

type served struct{ *Collector }

func (s served) List(context.Context) ([]AppInfo, error) { return s.folder.infos(), nil }

func (s served) Add(ctx context.Context, name string, p *plan.Plan) (keys Keys, err error) {
	ended := s.writer.do(func() {
		keys, err = s.folder.addApp(name, p, Keys{}, func(a *App) error { return s.writer.define(ctx, a) })
	})
	return keys, s.changed(cmp.Or(ended, err), "added", name)
}

func (s served) Update(ctx context.Context, name string, p *plan.Plan) (info AppInfo, err error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	ended := s.writer.do(func() {
		var a *App
		if a, err = s.folder.updateApp(name, p, func(p *plan.Plan) error { return s.writer.extend(ctx, p) }); err == nil {
			info = a.info()
		}
	})
	return info, s.changed(cmp.Or(ended, err), "updated", name)
}

func (s served) Rotate(_ context.Context, name string, api, secret bool) (Keys, error) {
	keys, err := s.folder.rotateKeys(name, api, secret)
	return keys, s.changed(err, "given new keys", name)
}

func (s served) Remove(_ context.Context, name string) (err error) {
	ended := s.writer.do(func() {
		if err = s.folder.removeApp(name); err == nil {
			delete(s.writer.apps, name)
			if err := s.writer.identities.forgetApp(name); err != nil { // the next save tries again
				s.log.Warn("forget what senders of a removed app have said of themselves", "app", name, "err", err)
			}
		}
	})
	if err = cmp.Or(ended, err); err == nil {
		s.mu.Lock()
		delete(s.guards, name)
		s.mu.Unlock()
	}
	return s.changed(err, "removed", name)
}

func (s served) Publish(_ context.Context, name string, facts *privacy.Facts) error {
	return s.changed(s.folder.setFacts(name, facts), "given new facts", name)
}

func (s served) Describe(_ context.Context, name string) (Description, error) {
	return s.folder.describe(name)
}

func (s served) Close() error { return nil }

func (s served) changed(err error, how, name string) error {
	if err == nil {
		s.log.Info("an app was "+how, "app", name)
	}
	return err
}

// folderApps works on a folder that no collector runs on.
type folderApps struct {
	folder *Folder
	open   func(context.Context) (store.Store, error)
	store  store.Store // nil until it is needed
}

func (f *folderApps) List(context.Context) ([]AppInfo, error) { return f.folder.infos(), nil }

func (f *folderApps) Add(ctx context.Context, name string, p *plan.Plan) (Keys, error) {
	return f.folder.addApp(name, p, Keys{}, func(a *App) error { return f.define(ctx, a.Plan) })
}

func (f *folderApps) Update(ctx context.Context, name string, p *plan.Plan) (AppInfo, error) {
	a, err := f.folder.updateApp(name, p, func(p *plan.Plan) error { return f.define(ctx, p) })
	if err != nil {
		return AppInfo{}, err
	}
	return a.info(), nil
}

func (f *folderApps) define(ctx context.Context, p *plan.Plan) (err error) {
	if f.store == nil {
		if f.store, err = f.open(ctx); err != nil {
			f.store = nil // not a nil pointer in an interface
			return err
		}
	}
	if err := f.store.Define(ctx, p); err != nil {
		return fmt.Errorf("define app %s: %w", p.App, err)
	}
	return nil
}

func (f *folderApps) Rotate(_ context.Context, name string, api, secret bool) (Keys, error) {
	return f.folder.rotateKeys(name, api, secret)
}

func (f *folderApps) Remove(_ context.Context, name string) error { return f.folder.removeApp(name) }

func (f *folderApps) Publish(_ context.Context, name string, facts *privacy.Facts) error {
	return f.folder.setFacts(name, facts)
}

func (f *folderApps) Describe(_ context.Context, name string) (Description, error) {
	return f.folder.describe(name)
}

func (f *folderApps) Close() error {
	if f.store == nil {
		return f.folder.Close()
	}
	return errors.Join(f.store.Close(), f.folder.Close())
}
