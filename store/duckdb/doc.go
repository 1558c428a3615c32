// Package duckdb keeps events in one folder of this machine, in a DuckDB
// database: the store for a collector that needs no other service.
//
// Start with Open. The folder then holds
//
//	events.duckdb      plans, sessions and events; opened by nobody but DuckDB
//	events.duckdb.wal  DuckDB's own log, only while the store is open or after a crash
//	journal-1, -2 ...  events that are durable and not in the database yet, likewise
//	ids                the senders' ids, and nothing else
//	tmp                what DuckDB sorts on disk, only while it does
//	compact            there while events.duckdb holds bytes of erased rows
//
// The package refuses three things. No id of a sender enters the database or the
// journal: rows hold a sender's number, and ids says which id a number stands
// for, so that erasing an id does not have to wait for the database to let go of
// its blocks. DuckDB gets no network and no file but its own: extensions are
// neither installed nor loaded, and access to anything outside is off. And a
// folder is opened once: by one process, and once in it.
//
// DuckDB's file keeps the bytes of deleted rows until their blocks are used
// again: after Erase nothing in them says whose they were, but a field of kind
// random_id other than the identity and a foreign insert id are values like any
// other, and stay readable there. So the database is written anew some time
// later, and before the store is closed (see compactor).
//
// Two things it cannot promise. DuckDB's log guards its entries by checksums,
// not their lengths: if a disk turns a bit in a length, DuckDB takes the rest for
// the torn end of a crash, and drops it. And the journal cannot tell a disk that
// has damaged its very last block from a crash that has cut that block short.
//
// # The journal
//
// A commit of DuckDB costs much, and its log costs more for each row than the
// row: a collector that commits some ten thousand events at a time would spend
// most of its CPU there. So Append writes the events as one block of columns to
// a journal of the store's own, syncs it, and is done. A loader moves whole
// blocks into the database, in transactions of DuckDB's row groups when there is
// enough, after a second otherwise. The number of the next event to load is
// committed in the same transaction, so that each event gets there once.
//
// Whoever reads has the loader load first what the journal holds at that moment.
// So do Erase and Define. If loading fails, readers get the error and the log is
// told once, while Append goes on until the journal has grown to a GiB. If it
// works and Append is faster, Append helps: the journal does not grow.
//
// # When it stops half way
//
// A power cut or a kill may fall between any two steps. Each case is tested.
//
// Append writes new ids first, then the block.
//
//	1A  while the ids are appended: the tail of ids is torn, no row refers to
//	    it. Open cuts it off.
//	1B  after the ids are safe, before the block is: ids without rows. Open
//	    drops them, the records were never acknowledged.
//	1C  while the block is written: the end of the journal is torn. Open cuts
//	    it off; if all of it got there, it is 1D.
//	1D  after the block is synced, before the caller knows: Open loads it. The
//	    sender repeats the batch and Seen tells that it is there.
//
// The loader adds rows, says how far it is, commits, and then removes the files
// of the journal whose blocks are all loaded. Open does the same with a journal
// that it finds.
//
//	2A  before the commit: DuckDB knows nothing of it. Open loads the journal.
//	2B  after the commit, before the files are removed: they hold blocks that
//	    the database says it has. Open passes over them.
//
// Erase has the journal loaded. Then it replaces ids by a copy that holds a mark
// (the number, without the id) in place of each sender, and deletes the rows of
// all in one transaction. No row of theirs can come from the journal any more:
// what is in it lies before the number that is committed.
//
//	3A  before the copy takes the name ids: nothing has happened but a stray
//	    copy, which Open removes. Erase has not returned.
//	3B  after the copy has taken the name, before its folder is synced: after a
//	    power cut it is 3A or 3C, depending on which name the disk knows.
//	3C  before the commit: the ids are in no file, the rows belong to marks.
//	    Open deletes them.
//	3D  after the commit: marks without rows. Open drops them.
//
// If a step fails instead, the next write goes on from there. What was removed is
// then remembered until the asker comes again, for each sender by itself: the
// next Erase may be for some of them, and for others. A start forgets it.
//
// Erase makes the folder compact before it deletes rows. The compactor writes a
// copy of the database into it, while it holds the loader so that nothing else
// changes; closes both; puts the copy in the place of the database; and removes
// the folder.
//
//	4A  while the copy is written: Open removes it. The folder stays, and with
//	    it what is to be done.
//	4B  after the copy has taken the name, before the folder is removed: the
//	    database is compacted once more.
//
// Define has the journal loaded, and is one transaction. It needs no case of its
// own.
//
// A row whose number is neither in ids nor marked cannot come from any of these.
// Open then says that the store is damaged, instead of guessing: it could be a
// folder in which ids and events.duckdb come from different backups. So it does
// when the journal does not go on where the database ends, or when a block in
// the middle of it is not what was written.
package duckdb
