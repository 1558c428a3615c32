// Package duckdb keeps events in one folder of this machine, in a DuckDB
// database: the store for a collector that needs no other service.
//
// Start with Open. The folder then holds
//
//	events.duckdb      plans, sessions and events; opened by nobody but DuckDB
//	events.duckdb.wal  DuckDB's own log, only while the store is open or after a crash
//	ids                the senders' ids, and nothing else
//	tmp                what DuckDB sorts on disk, only while it does
//
// The package refuses three things. No id of a sender enters the database: rows
// hold a sender's number, and ids says which id a number stands for, so that
// erasing an id does not have to wait for the database to let go of its blocks.
// DuckDB gets no network and no file but its own: extensions are neither
// installed nor loaded, and access to anything outside is off. And a folder is
// opened once: by one process, and once in it.
//
// Two things it cannot promise. DuckDB's file keeps the bytes of deleted rows
// until their blocks are used again: after Erase nothing in them says whose they
// were, but a field of kind random_id other than the identity is a value like any
// other, and stays readable there. And DuckDB's log guards its entries by
// checksums, not their lengths: if a disk turns a bit in a length, DuckDB takes
// the rest for the torn end of a crash, and drops it.
//
// # When it stops half way
//
// A power cut or a kill may fall between any two steps. Each case is tested.
//
// Append writes new ids first, then the rows.
//
//	1A  while the ids are appended: the tail of ids is torn, no row refers to
//	    it. Open cuts it off.
//	1B  after the ids are safe, before the rows are: ids without rows. Open
//	    drops them, the records were never acknowledged.
//	1C  after the commit, before the caller knows: everything is stored. The
//	    sender repeats the batch and Seen tells that it is there.
//
// Erase replaces ids by a copy that holds a mark (the number, without the id)
// in place of the sender, then deletes the rows.
//
//	2A  before the copy takes the name ids: nothing has happened but a stray
//	    copy, which Open removes. Erase has not returned.
//	2B  after the copy has taken the name, before its folder is synced: after a
//	    power cut it is 2A or 2C, depending on which name the disk knows.
//	2C  before the rows are deleted: the id is in no file, the rows belong to a
//	    mark. Open deletes them.
//	2D  after the commit: a mark without rows. Open drops it.
//
// Define is one transaction and needs no case of its own.
//
// A row whose number is neither in ids nor marked cannot come from any of these.
// Open then says that the store is damaged, instead of guessing: it could be a
// folder in which ids and events.duckdb come from different backups.
package duckdb
