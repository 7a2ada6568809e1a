-- The last record of each symbol and account ('' is none) of a chain: what was decided for one account
-- is not compared with what was decided for another.
ALTER TABLE forensics_symbols ADD COLUMN account text COLLATE "C" NOT NULL DEFAULT '';
UPDATE forensics_symbols s SET account = COALESCE(l.account, '') FROM forensics f JOIN forensics_lists l ON l.id = f.list
    WHERE f.ingested_at = s.ingested_at AND f.chain = s.chain AND f.chain_index = s.chain_index;
ALTER TABLE forensics_symbols DROP CONSTRAINT forensics_symbols_pkey;
ALTER TABLE forensics_symbols ADD PRIMARY KEY (chain, symbol, account);
