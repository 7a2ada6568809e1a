-- The last record of each symbol and account (0 is none) of a chain: what was decided for one account
-- is not compared with what was decided for another.
ALTER TABLE forensics_symbols RENAME TO forensics_symbols_before;
CREATE TABLE forensics_symbols (
    chain INTEGER NOT NULL, symbol INTEGER NOT NULL, account INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (chain, symbol, account)
) STRICT, WITHOUT ROWID;
INSERT INTO forensics_symbols (chain, symbol, account, seq)
    SELECT s.chain, s.symbol, COALESCE(l.account, 0), s.seq FROM forensics_symbols_before s
    LEFT JOIN forensics f ON f.seq = s.seq LEFT JOIN forensics_lists l ON l.id = f.list;
DROP TABLE forensics_symbols_before;
