package collector

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"syscall"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A Folder is a collector's data folder. It holds what is the collector's own
// beside the store: the lock, the apps with their keys, the key of the keyed
// hashes, and the tombstones.
//
//	lock        held while a process owns the folder
//	apps.json   apps, plans, API keys, hashes of the secret keys
//	key         32 random bytes, for the keyed hashes in tombstones
//	tombstones  what was erased, as keyed hashes, one a line
//
// All files have mode 0600. It is safe for concurrent use.
type Folder struct {
	dir  string
	lock *os.File
	key  []byte

	mu    sync.RWMutex // guards what follows, and apps.json
	apps  map[string]*App
	byKey map[string]*App // by API key

	tombstones *tombstones
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
	API    string `json:"api_key"`
	Secret string `json:"secret_key"`
}

var (
	// ErrAppExists is returned by AddApp for a name that is taken.
	ErrAppExists = errors.New("an app of that name exists already; choose another name")

	// ErrKeyTaken is returned by AddApp for an API key that another app has.
	ErrKeyTaken = errors.New("another app has this API key; choose another key")
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
	f := &Folder{dir: dir, lock: lock, apps: map[string]*App{}, byKey: map[string]*App{}}
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
	var err error
	if f.key, err = f.openKey(); err != nil {
		return err
	}
	if err := f.readApps(); err != nil {
		return err
	}
	f.tombstones, err = openTombstones(filepath.Join(f.dir, "tombstones"), f.key)
	return err
}

// Path returns the data folder, for the store's own files.
func (f *Folder) Path() string { return f.dir }

// Close gives the folder up.
func (f *Folder) Close() error {
	return errors.Join(f.tombstones.close(), f.lock.Close())
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

// appsFile is apps.json.
type appsFile struct {
	Apps []*App `json:"apps"`
}

func (f *Folder) readApps() error {
	path := filepath.Join(f.dir, "apps.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the apps: %w", err)
	}
	var file appsFile
	if err := json.Unmarshal(b, &file); err != nil {
		return fmt.Errorf("%s cannot be read; restore it from a backup: %w", path, store.ErrDamaged)
	}
	for _, a := range file.Apps {
		if a == nil || a.Plan == nil || a.APIKey == "" || a.SecretHash == "" || plan.Check(a.Plan) != nil {
			return fmt.Errorf("%s holds an app that is not whole; restore it from a backup: %w", path, store.ErrDamaged)
		}
		f.apps[a.Name], f.byKey[a.APIKey] = a, a
	}
	return nil
}

// ReadPlan reads and checks a plan in a file. Its error names every fault.
func ReadPlan(path string) (*plan.Plan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	return plan.Parse(b)
}

// AddApp adds an app and returns its keys. The secret key cannot be had again.
func (f *Folder) AddApp(name string, p *plan.Plan, keys Keys) (Keys, error) {
	if err := plan.Check(p); err != nil {
		return Keys{}, err
	}
	own := *p
	own.App = name
	if err := plan.Check(&own); err != nil {
		return Keys{}, err // the name is not of the right form
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.apps[name] != nil {
		return Keys{}, ErrAppExists
	}
	if keys.API == "" {
		keys.API = randomKey()
	}
	if keys.Secret == "" {
		keys.Secret = randomKey()
	}
	if f.byKey[keys.API] != nil {
		return Keys{}, ErrKeyTaken
	}
	return keys, f.put(&App{Name: name, Plan: &own, APIKey: keys.API, SecretHash: hashSecret(keys.Secret)})
}

// SetApp brings an existing app to the given plan and keys; empty keys stay as
// they are. It is for what is preset at every start: the built-in plan and the
// keys from the environment.
func (f *Folder) SetApp(name string, p *plan.Plan, keys Keys) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.apps[name]
	if old == nil {
		return store.ErrUnknownApp
	}
	a := *old
	a.Plan = p
	if keys.API != "" {
		if other := f.byKey[keys.API]; other != nil && other != old {
			return ErrKeyTaken
		}
		a.APIKey = keys.API
	}
	if keys.Secret != "" {
		a.SecretHash = hashSecret(keys.Secret)
	}
	return f.put(&a)
}

// put replaces one app, on disk first. The caller holds mu.
func (f *Folder) put(a *App) error {
	var file appsFile
	for name, other := range f.apps {
		if name != a.Name {
			file.Apps = append(file.Apps, other)
		}
	}
	file.Apps = append(file.Apps, a)
	sort.Slice(file.Apps, func(i, j int) bool { return file.Apps[i].Name < file.Apps[j].Name })
	b, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return fmt.Errorf("write the apps: %w", err)
	}
	if err := writeFile(filepath.Join(f.dir, "apps.json"), append(b, '\n')); err != nil {
		return err
	}
	if old := f.apps[a.Name]; old != nil {
		delete(f.byKey, old.APIKey)
	}
	f.apps[a.Name], f.byKey[a.APIKey] = a, a
	return nil
}

// App returns the app called name, or nil.
func (f *Folder) App(name string) *App {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.apps[name]
}

// appByKey returns the app that uploads with an API key, or nil.
func (f *Folder) appByKey(key []byte) *App {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.byKey[string(key)]
}

// Apps returns all apps by name.
func (f *Folder) Apps() []*App {
	f.mu.RLock()
	defer f.mu.RUnlock()
	apps := make([]*App, 0, len(f.apps))
	for _, a := range f.apps {
		apps = append(apps, a)
	}
	sort.Slice(apps, func(i, j int) bool { return apps[i].Name < apps[j].Name })
	return apps
}

// randomKey returns 32 hex digits, the form that Amplitude's keys have.
func randomKey() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// writeFile replaces a file whole or not at all, also across a power cut.
func writeFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
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

// syncDir makes a new name in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
