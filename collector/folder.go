package collector

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A Folder is a collector's data folder. It holds what is the collector's own
// beside the store: the lock, the apps with their keys, the keys of the keyed
// hashes and of the receipts, and the tombstones.
//
//	lock         held while a process owns the folder
//	apps.json    apps, plans, API keys, hashes of the secret keys
//	admin.sock   where the owning process takes orders; see Listen
//	key          32 random bytes, for all keyed hashes
//	signing-key  the Ed25519 key that signs receipts
//	tombstones   what was erased, as keyed hashes, one a line
//	identified   what senders have said of themselves once, by keyed hashes
//	deletions    what was erased with secret keys, by day, as numbers
//
// All files have mode 0600. It is safe for concurrent use.
type Folder struct {
	dir  string
	lock *os.File
	key  []byte

	change sync.Mutex // held by whoever changes apps.json
	apps   atomic.Pointer[registry]

	tombstones *tombstones
	deletions  *deletions
	signer     *signer
}

// A registry is what apps.json says. It is immutable; a change makes another.
type registry struct {
	Apps []*App `json:"apps"` // by name

	// Removed are the names of apps that were taken out. Their events are in
	// the store still, so that whoever asks to be forgotten is forgotten there.
	Removed []string `json:"removed,omitempty"`

	// Left are removed apps without their keys: by their plans their events are
	// read, for whoever asks what is stored of a session.
	Left map[string]*App `json:"left,omitempty"`

	// Growing are the plans that the store was about to be extended to. It may
	// or may not have happened; see Folder.settle.
	Growing map[string]*plan.Plan `json:"growing,omitempty"`

	byName, byKey map[string]*App
}

// index makes the maps, after Apps has changed.
func (r *registry) index() {
	slices.SortFunc(r.Apps, func(a, b *App) int { return strings.Compare(a.Name, b.Name) })
	r.byName, r.byKey = map[string]*App{}, map[string]*App{}
	for _, a := range r.Apps {
		r.byName[a.Name], r.byKey[a.APIKey] = a, a
	}
}

// An App is one sender program with its plan. It is immutable.
type App struct {
	Name string     `json:"name"`
	Plan *plan.Plan `json:"plan"`

	// APIKey goes with every upload. It tells apps apart and is no secret:
	// every copy of the program carries it.
	APIKey string `json:"api_key"`

	// SecretHash is SHA-256 over the secret key, in hex. The key itself is
	// shown once, when the app is added.
	SecretHash string `json:"secret_hash"`

	// Facts are what its maintainer states about it; nil if nothing.
	Facts *privacy.Facts `json:"facts,omitempty"`
}

// checkSecret compares in constant time.
func (a *App) checkSecret(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(hashSecret(secret)), []byte(a.SecretHash)) == 1
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Keys are an app's two keys, as they are shown to its maintainer. Empty ones
// are made at random by AddApp.
type Keys struct {
	API    string `json:"api_key,omitempty"`
	Secret string `json:"secret_key,omitempty"`
}

var (
	// ErrAppExists is returned by AddApp for a name that is taken.
	ErrAppExists = errors.New("an app of that name exists already; choose another name")

	// ErrKeyTaken is returned by AddApp for an API key that another app has.
	ErrKeyTaken = errors.New("another app has this API key; choose another key")

	// ErrKeysEqual is returned for a secret key that is the app's API key, which
	// every copy of the program carries.
	ErrKeysEqual = errors.New("the secret key is the API key, which everybody has; choose another secret key")

	// ErrNoApp is returned for a name that no app has.
	ErrNoApp = errors.New("there is no app of that name here; see `blindai-collector app list`")

	// ErrPlanVersion is returned for a plan that differs from the app's and
	// does not have a greater version: a version names one promise.
	ErrPlanVersion = errors.New("the plan has changed, so its version must be greater than that of the app's plan")
)

// OpenFolder opens dir for this process alone, and makes it if it is not there.
// It fails with store.ErrInUse while another process owns it.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the data folder cannot be made; choose another one with --data: %w", err)
	}
	// The file stays when the lock goes: removing it would let two processes
	// hold locks on two files of one name.
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data folder cannot be written; choose another one with --data, or change its owner: %w", err)
	}
	f := &Folder{dir: dir, lock: lock}
	if err := f.open(); err != nil {
		lock.Close()
		return nil, err
	}
	return f, nil
}

func (f *Folder) open() error {
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%s: %w", f.dir, store.ErrInUse)
		}
		return fmt.Errorf("lock the data folder: %w", err)
	}
	if err := removeStray(f.dir); err != nil {
		return err
	}
	var err error
	if f.key, err = f.openKey(); err != nil {
		return err
	}
	if f.signer, err = openSigner(filepath.Join(f.dir, "signing-key")); err != nil {
		return err
	}
	if err := f.readApps(); err != nil {
		return err
	}
	if f.tombstones, err = openTombstones(filepath.Join(f.dir, "tombstones"), f.key); err != nil {
		return err
	}
	if f.deletions, err = openDeletions(filepath.Join(f.dir, "deletions")); err != nil {
		return errors.Join(err, f.tombstones.close())
	}
	return nil
}

// Path returns the data folder, for the store's own files.
func (f *Folder) Path() string { return f.dir }

// Close gives the folder up.
func (f *Folder) Close() error {
	return errors.Join(f.tombstones.close(), f.deletions.close(), f.unlock())
}

// unlock gives the lock up by name and not only by closing the file: a child
// process that is just being started by this one has the file open too, until it
// becomes another program.
func (f *Folder) unlock() error {
	return errors.Join(syscall.Flock(int(f.lock.Fd()), syscall.LOCK_UN), f.lock.Close())
}

// openKey reads the key of the keyed hashes, and makes it at the first start. A
// lost key would let erased senders back in, so it is never made anew beside
// tombstones.
func (f *Folder) openKey() ([]byte, error) {
	path := filepath.Join(f.dir, "key")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if info, err := os.Stat(filepath.Join(f.dir, "tombstones")); err == nil && info.Size() > 0 {
			return nil, fmt.Errorf("%s is missing, so erased sessions cannot be kept out; restore it from a backup: %w", path, store.ErrDamaged)
		}
		// Without the key nobody could be found in it again, nor erased from it.
		if err := os.Remove(identitiesPath(f.dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove what senders have said of themselves: %w", err)
		}
		b = make([]byte, sha256.Size)
		rand.Read(b)
		return b, writeFile(path, b)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	if len(b) != sha256.Size {
		return nil, fmt.Errorf("%s has the wrong length; restore it from a backup: %w", path, store.ErrDamaged)
	}
	return b, nil
}

func (f *Folder) readApps() error {
	r := new(registry)
	path := filepath.Join(f.dir, "apps.json")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the apps: %w", err)
	}
	if err == nil && json.Unmarshal(b, r) != nil {
		return fmt.Errorf("%s cannot be read; restore it from a backup: %w", path, store.ErrDamaged)
	}
	whole := true
	for _, a := range r.Apps {
		whole = whole && a != nil && a.Plan != nil && a.APIKey != "" && a.SecretHash != "" && plan.Check(a.Plan) == nil
	}
	for _, a := range r.Left {
		whole = whole && a != nil && a.Plan != nil && plan.Check(a.Plan) == nil
	}
	for _, p := range r.Growing {
		whole = whole && p != nil && plan.Check(p) == nil
	}
	if !whole {
		return fmt.Errorf("%s holds an app that is not whole; restore it from a backup: %w", path, store.ErrDamaged)
	}
	r.index()
	f.apps.Store(r)
	return nil
}

// edit changes the apps, on disk first. The caller holds change.
func (f *Folder) edit(change func(*registry)) error {
	r := f.apps.Load().with(change)
	if err := f.writeApps(r); err != nil {
		return err
	}
	f.apps.Store(r)
	return nil
}

// with returns a changed copy.
func (r *registry) with(change func(*registry)) *registry {
	r = &registry{Apps: slices.Clone(r.Apps), Removed: slices.Clone(r.Removed), Left: maps.Clone(r.Left), Growing: maps.Clone(r.Growing)}
	if r.Left == nil {
		r.Left = map[string]*App{}
	}
	if r.Growing == nil {
		r.Growing = map[string]*plan.Plan{}
	}
	change(r)
	r.index()
	return r
}

func (f *Folder) writeApps(r *registry) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the apps: %w", err)
	}
	return writeFile(filepath.Join(f.dir, "apps.json"), append(b, '\n'))
}

// put adds an app, or replaces the one of its name.
func (r *registry) put(a *App) {
	r.drop(a.Name)
	r.Apps = append(r.Apps, a)
	delete(r.Left, a.Name)
	r.Removed = slices.DeleteFunc(r.Removed, func(name string) bool { return name == a.Name })
}

func (r *registry) drop(name string) {
	r.Apps = slices.DeleteFunc(r.Apps, func(a *App) bool { return a.Name == name })
}

// ParsePlan reads and checks a plan. Its error names every fault.
func ParsePlan(b []byte) (*plan.Plan, error) { return plan.Parse(b) }

// AddApp adds an app and returns its keys. The secret key cannot be had again.
func (f *Folder) AddApp(name string, p *plan.Plan, keys Keys) (Keys, error) {
	return f.addApp(name, p, keys, func(*App) error { return nil })
}

// addApp calls define with the new app before it counts. If the process ends
// between the two, the store has room for an app that nobody knows, which does
// no harm.
func (f *Folder) addApp(name string, p *plan.Plan, keys Keys, define func(*App) error) (Keys, error) {
	own, err := named(p, name)
	if err != nil {
		return Keys{}, err
	}
	f.change.Lock()
	defer f.change.Unlock()
	apps := f.apps.Load()
	if apps.byName[name] != nil {
		return Keys{}, ErrAppExists
	}
	if keys.API == "" {
		keys.API = randomKey()
	}
	if keys.Secret == "" {
		keys.Secret = randomKey()
	}
	switch {
	case apps.byKey[keys.API] != nil:
		return Keys{}, ErrKeyTaken
	case keys.API == keys.Secret:
		return Keys{}, ErrKeysEqual
	}
	a := &App{Name: name, Plan: own, APIKey: keys.API, SecretHash: hashSecret(keys.Secret)}
	if err := define(a); err != nil {
		return Keys{}, err
	}
	if err := f.edit(func(r *registry) { r.put(a) }); err != nil {
		return Keys{}, err
	}
	return keys, nil
}

// named returns a checked copy of a plan for the app called name.
func named(p *plan.Plan, name string) (*plan.Plan, error) {
	if err := plan.Check(p); err != nil {
		return nil, err
	}
	own := *p
	own.App = name
	return &own, plan.Check(&own) // a fault is one of the name
}

// SetApp brings an existing app to the given plan and keys; empty keys stay as
// they are. It is for what is preset at every start: the built-in plan and the
// keys from the environment.
func (f *Folder) SetApp(name string, p *plan.Plan, keys Keys) error {
	f.change.Lock()
	defer f.change.Unlock()
	apps := f.apps.Load()
	old := apps.byName[name]
	if old == nil {
		return ErrNoApp
	}
	a := *old
	a.Plan = p
	if keys.API != "" {
		if other := apps.byKey[keys.API]; other != nil && other != old {
			return ErrKeyTaken
		}
		a.APIKey = keys.API
	}
	if keys.Secret != "" {
		a.SecretHash = hashSecret(keys.Secret)
	}
	if a.checkSecret(a.APIKey) {
		return ErrKeysEqual
	}
	return f.edit(func(r *registry) { r.put(&a) })
}

// updateApp gives an app a new version of its plan, which extend brings to the
// store. A plan that is the app's already changes nothing.
//
// The store and apps.json cannot change in one step. So the new plan is noted
// first; if the process ends anywhere from there on, settle does the rest at the
// next start. A plan that the store refuses is not noted any more.
func (f *Folder) updateApp(name string, p *plan.Plan, extend func(*plan.Plan) error) (*App, error) {
	own, err := named(p, name)
	if err != nil {
		return nil, err
	}
	f.change.Lock()
	defer f.change.Unlock()
	old := f.App(name)
	switch {
	case old == nil:
		return nil, ErrNoApp
	case bytes.Equal(old.Plan.JSON(), own.JSON()):
		return old, nil
	case own.Version <= old.Plan.Version:
		return nil, ErrPlanVersion
	}
	if err := f.edit(func(r *registry) { r.Growing[name] = own }); err != nil {
		return nil, err
	}
	if err := extend(own); err != nil {
		if errors.Is(err, store.ErrPlan) {
			err = errors.Join(err, f.edit(func(r *registry) { delete(r.Growing, name) }))
		}
		return nil, err
	}
	return f.grown(name, own), nil
}

// grown ends an update: the store has the plan. So has the disk, as the note of
// it, and therefore a disk that cannot be written now undoes nothing: the next
// change or the next start writes the rest.
func (f *Folder) grown(name string, p *plan.Plan) *App {
	a := *f.App(name)
	a.Plan = p
	r := f.apps.Load().with(func(r *registry) {
		r.put(&a)
		delete(r.Growing, name)
	})
	_ = f.writeApps(r)
	f.apps.Store(r)
	return &a
}

// settle ends the updates that a stop of the process has left half way.
func (f *Folder) settle(extend func(*plan.Plan) error) error {
	f.change.Lock()
	defer f.change.Unlock()
	for name, p := range f.apps.Load().Growing {
		err := error(nil)
		if a := f.App(name); a == nil || p.Version <= a.Plan.Version {
			err = store.ErrPlan // it was overtaken
		} else if err = extend(p); err == nil {
			f.grown(name, p)
		}
		if errors.Is(err, store.ErrPlan) {
			err = f.edit(func(r *registry) { delete(r.Growing, name) })
		}
		if err != nil {
			return fmt.Errorf("end the update of app %s: %w", name, err)
		}
	}
	return nil
}

// rotateKeys gives an app new keys, and returns those that are new. The old
// ones are no good from here on.
func (f *Folder) rotateKeys(name string, api, secret bool) (Keys, error) {
	f.change.Lock()
	defer f.change.Unlock()
	old := f.App(name)
	if old == nil {
		return Keys{}, ErrNoApp
	}
	a, keys := *old, Keys{}
	if api {
		keys.API = randomKey()
		a.APIKey = keys.API
	}
	if secret {
		keys.Secret = randomKey()
		a.SecretHash = hashSecret(keys.Secret)
	}
	if err := f.edit(func(r *registry) { r.put(&a) }); err != nil {
		return Keys{}, err
	}
	return keys, nil
}

// setFacts gives an app what its maintainer states about it.
func (f *Folder) setFacts(name string, facts *privacy.Facts) error {
	if err := facts.Check(); err != nil {
		return err
	}
	f.change.Lock()
	defer f.change.Unlock()
	old := f.App(name)
	if old == nil {
		return ErrNoApp
	}
	a := *old
	a.Facts = facts
	return f.edit(func(r *registry) { r.put(&a) })
}

// removeApp takes an app out. Its events stay in the store.
func (f *Folder) removeApp(name string) error {
	f.change.Lock()
	defer f.change.Unlock()
	a := f.App(name)
	if a == nil {
		return ErrNoApp
	}
	return f.edit(func(r *registry) {
		r.drop(name)
		r.Left[name] = &App{Name: name, Plan: a.Plan, Facts: a.Facts}
		delete(r.Growing, name)
		r.Removed = append(r.Removed, name)
	})
}

// App returns the app called name, or nil.
func (f *Folder) App(name string) *App { return f.apps.Load().byName[name] }

// appByKey returns the app that uploads with an API key, or nil.
func (f *Folder) appByKey(key []byte) *App { return f.apps.Load().byKey[string(key)] }

// Apps returns all apps by name.
func (f *Folder) Apps() []*App { return slices.Clone(f.apps.Load().Apps) }

// stored returns the names of all apps that have events in the store: those of
// removed ones too.
func (f *Folder) stored() []string {
	r := f.apps.Load()
	names := slices.Clone(r.Removed)
	for _, a := range r.Apps {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return names
}

// storedApp returns an app by which to read what is stored under a name: a
// removed one has its plan still. It is nil if there is none.
func (f *Folder) storedApp(name string) *App {
	r := f.apps.Load()
	if a := r.byName[name]; a != nil {
		return a
	}
	return r.Left[name]
}

// randomKey returns 32 hex digits, the form that Amplitude's keys have.
func randomKey() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// newPrefix begins the names of files that are to take another one's place.
const newPrefix = ".new-"

// writeFile replaces a file whole or not at all, also across a power cut.
func writeFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, newPrefix+"*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// removeStray removes what a killed process has left: files that were to take
// another one's place, which may hold what has been erased since, and those of what
// was seen.
func removeStray(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), seenPrefix) {
			err = cmp.Or(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("remove what a killed process has left: %w", err)
	}
	return nil
}

// syncDir makes a new name in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
