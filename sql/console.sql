-- vibevideo in psql: views that fit 80 columns, and shortcuts.
--
--   \i /usr/share/postgresql/15/vibevideo/console.sql
--
-- or "make console".  For viewers, operators and the owner; it changes nothing but
-- this session.
\set QUIET on
\pset linestyle unicode
\pset null ''
\pset pager off
\pset format wrapped
\set now 'TABLE vibevideo.now;'
\set today 'TABLE vibevideo.today;'
\set inbox 'TABLE vibevideo.inbox;'
\set overview 'SELECT * FROM vibevideo.overview() \\gx'
\set errors 'SELECT * FROM vibevideo.error_groups() \\gx'
\unset QUIET
\echo
\echo '  :now              the oldest unfinished jobs, and why they wait'
\echo '  :today            the day so far, by model'
\echo '  :inbox            what needs you, and what to do about it'
\echo '  :overview         how things are'
\echo '  :errors           what went wrong in the last day'
\echo
\echo '  TABLE vibevideo.now; \\watch 2      repeats the first one'
\echo '  SELECT * FROM vibevideo.why(1);   SELECT * FROM vibevideo.job_detail(1) \\gx'
\echo
TABLE vibevideo.inbox;
