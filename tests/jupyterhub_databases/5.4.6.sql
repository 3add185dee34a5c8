BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('4621fec11365');
CREATE TABLE api_tokens (
	user_id INTEGER, 
	service_id INTEGER, 
	id INTEGER NOT NULL, 
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	client_id VARCHAR(255), 
	session_id VARCHAR(255), 
	created DATETIME, 
	expires_at DATETIME, 
	last_activity DATETIME, 
	note VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_api_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_api_tokens_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT uq_api_tokens_hashed UNIQUE (hashed), 
	CONSTRAINT fk_api_tokens_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE
);
INSERT INTO "api_tokens" VALUES(NULL,1,1,'sha512:16384:bc41ee1cc4c6bbb1:8104d7791d57e4be1868bdc8fc75f03978a5034a25f54fe16725e2b4b6949e22d74303f2686322e749b429d917552807ebe82af7fcf081ab82f4f80da47d2cac','toke','jupyterhub',NULL,'2026-12-01 03:52:22.118925',NULL,'2026-12-01 03:52:38.635058','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,2,'sha512:16384:3873ef81bcc86287:2ad9f36269821981b7234e6884d1e3537c6cc7159151974c4ebcbfdec346b3927ac3eddc2960c32371ab6eb908d39d975d2e0e5264acca29f372154ffba658a2','toke','jupyterhub',NULL,'2026-12-01 03:52:22.134424',NULL,'2026-12-01 03:52:38.978283','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,3,3,'sha512:16384:1b4b6600f351625c:2a80ed69e4199e9d55702c71e410a214826b4b3abf008abadab69a5f5bfbeb60056ba70f5e60e056970dca1d416f903f88cc7564acd3c576746e8027b358bfa0','toke','jupyterhub',NULL,'2026-12-01 03:52:22.169823',NULL,'2026-12-01 03:52:38.717403','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(4,NULL,4,'sha512:16384:92bfb107d0472050:e456d894a83b40248c0e80460f04c415544b8a9d5b20302d1ddd8bcb50c9b173c035132c2105a451fcbed0ccf1875416936e3b5968c64bceab97b8e251ec016a','toke','jupyterhub',NULL,'2026-12-01 03:52:22.224538',NULL,'2026-12-01 03:52:38.244717','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,5,'sha512:16384:2309722739c12cfc:387afec09c2668409108faecd3445c0175e2b53325c7760661fcaf08bbde37c37180c83dd43bb37bbe20dce527da06d442c7fff7d929852286d6fbd92b53a658','toke','jupyterhub',NULL,'2026-12-01 03:52:22.252756',NULL,'2026-12-01 03:52:38.345235','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,6,'sha512:16384:29877f189d67e018:f6d42e9e97ac242a001eca0d1a27eef6fe446c673a597714824125f725eb4dd5bb11be4afe1a47cfd15603625a19d4d4222eb37f86f72a750d49667f5449f277','toke','jupyterhub',NULL,'2026-12-01 03:52:27.815693',NULL,'2026-12-01 03:52:38.855935','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,7,'sha512:16384:2aa590f497bc2342:3d1691d4df4e47d64d76473b56df749ae4484ec683d5a92a8f6d89bab1ca8f18821286497de2a061edadb8a06213267922c7946f10821c93cf1f1e8062c06e5c','toke','jupyterhub',NULL,'2026-12-01 03:52:27.870252',NULL,'2026-12-01 03:52:38.476893','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(1,NULL,8,'sha512:1:5ecad4d4e333f8c7:394d1f762dc5734beeca243c5774e46f8cca46900fe1a349d2b5233f32887433617ffeb516ef7939605caaf32c0ec872dbfce9cd854b67521fd3b67ec7652cc3','ff71','jupyterhub',NULL,'2026-12-01 03:52:32.024179',NULL,'2026-12-01 03:52:32.755179','command-line generated','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,9,'sha512:1:4ebb1116a9973b20:059ce3d98f61520c6d846aa89107af758ad743117ee0a1f6cdc958530ec61f2672bca31662f2e9f1e6ef9cfcf4a63e27c0dd9ec18ca3e7809249476774f7a8f5','e996','jupyterhub',NULL,'2026-12-01 03:52:33.243093',NULL,'2026-12-01 03:52:33.271180','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,10,'sha512:1:d78be5f07aed8d80:a74927b72311974705cb35cbafbcdba656e83027877e1860c03e833ddc246d943295caf29d8bbab05015a1196e31e9ad1af1e276a83321280d2d9ca0b9f2ca00','8b92','jupyterhub',NULL,'2026-12-01 03:52:33.263116',NULL,'2026-12-01 03:52:36.872159','für den Scanner','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,11,'sha512:1:22654ab627143fdf:389e4383aaa1a8a94f8b442c4e31495fa7f7d794bd7d645ef883a107a4a0573aaf0bd7bc71114ae72a3346e35675c453cc0f926d0ab9bd5fcf3906d6f456837b','10b8','jupyterhub',NULL,'2026-12-01 03:52:33.277526',NULL,'2026-12-01 03:52:37.003716','by herself','["inherit"]');
INSERT INTO "api_tokens" VALUES(8,NULL,12,'sha512:1:b07f937bee2f97f9:0e79f826df161ddd7865a0ac349bb8aa03bd4c3acf183caaaae70ffd7514be284b26239575aafd3b94e3cc2fe649b79dfcfe74af0c0fecc319b9711ba120d953','5688','jupyterhub',NULL,'2026-12-01 03:52:33.291767','2056-11-23 03:52:33.291164','2026-12-01 03:52:37.105129','a long time','["inherit"]');
INSERT INTO "api_tokens" VALUES(7,NULL,14,'sha512:1:3095a121fef914bb:0669509d28c2144e85f4ca77faf9bcc7ecfbaedd5bdeefecafd922d0bc617aa62b94a4f60cbb1e7146ff723b4c5ac155dd9124a8887878e0db143ba7a8e868aa','714a','jupyterhub',NULL,'2026-12-01 03:52:33.317275',NULL,'2026-12-01 03:52:37.185340','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(9,NULL,15,'sha512:1:4f3b4d53e953547d:57f41d867b4df886319fee3cc68676299355bda6bc2bb736b91cc45f201bc2707b91ea2858bef2a4c2167e82109de9229c4996aad78e4c06bb7b2ca381256ea4','ba08','jupyterhub',NULL,'2026-12-01 03:52:33.330479',NULL,'2026-12-01 03:52:37.221905','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(9,NULL,16,'sha512:1:4dba7c3330d0b2cf:aea088ff0fc75ebc691ad22e82229fc5dd3fed0afe018887c0ac10c61e0485573a8cc8ad47d7d6f103917422d65a0140a26e1e3a55aec1d31334fdb70c871fb3','86df','jupyterhub',NULL,'2026-12-01 03:52:33.344161',NULL,'2026-12-01 03:52:37.268764','without',NULL);
INSERT INTO "api_tokens" VALUES(3,NULL,17,'sha512:1:f54c02d5b6955bf4:db28f0ac15ff42207c93452ac9cc137fa7e76434cb53682b1b35060db258176c34abae04882aef525d421a3245fabe655b0ab4f243d334bc1c9009fdb3f275f5','66b5','jupyterhub',NULL,'2026-12-01 03:52:33.357170',NULL,'2026-12-01 03:52:37.307625','Requested via api by user ada','["servers!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,18,'sha512:1:e7d2c363c4f44192:a00a3639446c3d09399036ed6abef4b766c3d748f1e4e8f1ece5bf5aedebc4f242a5fa5e172cd685c6b653c7ee76f58bb3b00112368001030537031da4c96aac','89cb','jupyterhub',NULL,'2026-12-01 03:52:33.368375',NULL,'2026-12-01 03:52:37.347028','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,19,'sha512:1:f70e6bab714d6a1a:559b1c0589bb28270ccca1b8fd1d2643eb06acafa88389c1908412888f4f7b46510f08088d9ecbf07e19bbb403e8affe850f9f05adb6c296f69677b9413ef03f','bb07','jupyterhub',NULL,'2026-12-01 03:52:33.382255',NULL,'2026-12-01 03:52:37.391515','Requested via api by user ada','["self"]');
INSERT INTO "api_tokens" VALUES(1,NULL,20,'sha512:1:6c106a5414f2bf1b:d5c211a5683230f65686a1b4ecefb060eee0941ada922e731d64422e5b2e7ebf6b1a91007cb6f94737b5e25e356a07e5673dcd4ecfcc6eb88dc9a4e5e2c8a299','4c65','jupyterhub',NULL,'2026-12-01 03:52:33.394316',NULL,'2026-12-01 03:52:37.433238','Requested via api','["admin:users!user=carol"]');
INSERT INTO "api_tokens" VALUES(7,NULL,21,'sha512:1:a3ff926d006d67e4:0230b5e32f6de2596fe61bd516b61102d6597c8c2dba223a27c4c940cab2bad667dd50b09319c883238ec66b55ce760aae7d2e90eb594523e304ce2b1b59562e','c973','jupyterhub',NULL,'2026-12-01 03:52:33.432274',NULL,'2026-12-01 03:52:37.491243','Requested via api by user ada','["admin:users", "list:users"]');
INSERT INTO "api_tokens" VALUES(5,NULL,22,'sha512:1:fab9f146cd364a4c:723f6af1276a58f98fea3c89b2e4e9b6904f0013056718153653af296f9348da63bcd766dece1ac34e7d35185cf4a81e3b654f9b2607f7a62df8ef9df8d8185c','aadf','jupyterhub',NULL,'2026-12-01 03:52:33.456575',NULL,'2026-12-01 03:52:37.529766','Requested via api by user ada','["list:users!group=students"]');
INSERT INTO "api_tokens" VALUES(2,NULL,23,'sha512:1:bd94bf38b0fdb6d6:436619b3f5baad9e1db49a1e7e3bf4b983e13764129e4158e0ed95f982150892062d97054f38dfae9319946719027048802bab31591115a49ab4be102a1d7eef','c563','jupyterhub',NULL,'2026-12-01 03:52:33.476023',NULL,'2026-12-01 03:52:37.591813','Requested via api by user ada','["self", "read:users!group=students"]');
INSERT INTO "api_tokens" VALUES(3,NULL,24,'sha512:1:749b375957daf0e0:054b80b5045dae39ee3aca6c2b257208d1cb8542a0497a72fbbb36344988050990115ed3f969cd73acb6594e95990ed675a4882d77fe4adf002bfc0be41a9fc8','88a3','jupyterhub',NULL,'2026-12-01 03:52:33.494067',NULL,'2026-12-01 03:52:37.655652','Server at /user/carol/','["users:activity!user", "access:servers!server=carol/"]');
INSERT INTO "api_tokens" VALUES(8,NULL,25,'sha512:1:b97679fed766fbde:81cdbbb0945fad5c8c89fc2ccf68f03ea5c6fa971b65dda5e4a98dacf5c0f6b408279454f64de4da9c074c901eb7c2a89ec769d78d339b0e2f5dae09605e2eb4','5803','jupyterhub',NULL,'2026-12-01 03:52:33.856163',NULL,'2026-12-01 03:52:37.699699','Server at /user/dave/mylab-2/','["users:activity!user", "access:servers!server=dave/mylab-2"]');
INSERT INTO "api_tokens" VALUES(3,NULL,26,'sha512:1:a0a4daf199f565d9:165100ff1f61bee2fcebae375d5df1e55206ba1fca15dc5330057709f75eeb74c82e0a586ed82c147b4190530a5674efadd47365148ac62ad7fa7634488912d3','MWi8','jupyterhub-user-carol','22314ba28d7b4d658cd9511415d30bd3','2026-12-01 03:52:34.427854','2026-12-15 03:52:34.427264','2026-12-01 03:52:37.742587','','["access:servers!server=carol/", "read:users:groups!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(1,NULL,27,'sha512:1:31f64385b2d366f9:95fe84f02499d8cc13a0e5e7bbce84fa89248553be5c0a962d3fbfc7e778c4d54963b4cccbd0540992e88a4e8cb894af94ecd6891a238dee892bbf1cc50c5e7d','u6NT','jupyterhub-user-carol','04aa6e6c11a74e069baffb4618b29dc5','2026-12-01 03:52:34.735812','2026-12-15 03:52:34.735252','2026-12-01 03:52:37.785903','','["read:users:groups!user", "read:users:name!user", "access:servers!server=carol/"]');
INSERT INTO "api_tokens" VALUES(8,NULL,28,'sha512:1:2d8aa0436ecea02f:7f9ae04f96c5cd39d3751ae9348ba92d1610b6591f8b0fb5266c84d1423e52aa60b97c0a2b2094bc4ec4753076d93d2bc32290c4495e6589f9e3df3e758ec650','JOkl','jupyterhub-user-dave-mylab-2','f98d678bef194a7292875167bffb6db6','2026-12-01 03:52:34.782282','2026-12-15 03:52:34.781685','2026-12-01 03:52:37.830799','','["read:users:groups!user", "read:users:name!user", "access:servers!server=dave/mylab-2"]');
INSERT INTO "api_tokens" VALUES(3,NULL,29,'sha512:1:0df6e59b59b5fb2f:a98ecd8eee83ade8e8fcea37cbf0104b3aaf890531590b67eb35b34e1921ecd746f51c177ded803666f513869e8077c1acd18be171ed5117de11a3b394cdbd9d','JCRx','service-announce','22314ba28d7b4d658cd9511415d30bd3','2026-12-01 03:52:34.815448','2026-12-15 03:52:34.814851','2026-12-01 03:52:37.872526','','["access:services!service=announce", "read:users:groups!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(NULL,4,30,'sha512:16384:0540bff3903a258d:2728317cf93e58f688bc926eeae213b5df6fea5331698da9883f49629874082f845d0a73d0f382598a19ace163d3e00bdc67e8d67e1fc7d7a043b2499299a20d','toke','jupyterhub',NULL,'2026-12-01 03:52:34.991859',NULL,'2026-12-01 03:52:37.921198','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,5,31,'sha512:16384:0a7caf32a450f26f:a2650d51c97366f8cf947f4e643bcddff1bdac50e154c3cf8d93ec71bfaa9285e38768b7bb29647ff652281a1ad6b8adc53758980a13a434f9822a161df6dc19','toke','jupyterhub',NULL,'2026-12-01 03:52:35.039675',NULL,'2026-12-01 03:52:38.074419','from config','["inherit"]');
CREATE TABLE group_role_map (
	group_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_group_role_map PRIMARY KEY (group_id, role_id), 
	CONSTRAINT fk_group_role_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_group_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "group_role_map" VALUES(1,7,0);
CREATE TABLE groups (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	properties TEXT, 
	CONSTRAINT pk_groups PRIMARY KEY (id), 
	CONSTRAINT uq_groups_name UNIQUE (name)
);
INSERT INTO "groups" VALUES(1,'students','{"limit": 3, "\u00fc": ["x", null]}');
INSERT INTO "groups" VALUES(2,'Übung 7','{}');
CREATE TABLE oauth_clients (
	id INTEGER NOT NULL, 
	identifier VARCHAR(255), 
	description VARCHAR(1023), 
	secret VARCHAR(255), 
	redirect_uri VARCHAR(1023), 
	allowed_scopes TEXT, 
	CONSTRAINT pk_oauth_clients PRIMARY KEY (id), 
	CONSTRAINT uq_oauth_clients_identifier UNIQUE (identifier)
);
INSERT INTO "oauth_clients" VALUES(1,'jupyterhub','JupyterHub','','','[]');
INSERT INTO "oauth_clients" VALUES(2,'service-announce','JupyterHub service announce','sha512:16384:373d6472f1472b0f:1692e47e01b32a180498380e2b3efc980668a7e2aadb6c218845b01edb32f8f80d49a1a8bfea3deff508f1900fa6dad96ec8db4dfc6bbfc1050d43b280474a04','/services/announce/oauth_callback','["access:services!service=announce"]');
INSERT INTO "oauth_clients" VALUES(3,'jupyterhub-user-carol','Server at /user/carol/','sha512:16384:7e5ca0d3051d0f78:6bdf19c8451399eac98880119b2c9ae49057c2188e7cc2d8ed59493179ee87111bd295dd3112ae19ec6c28661eb2d5ba358d4cdbfbb84ca3b3cd0d67a3d27500','/user/carol/oauth_callback','["access:servers!server=carol/"]');
INSERT INTO "oauth_clients" VALUES(4,'jupyterhub-user-dave-mylab-2','Server at /user/dave/mylab-2/','sha512:16384:78e3b9ca6fa3c41b:577be720f95a9fd95f0d430ea240ab5056d56391fbd08b18b16734c76f0b44fe3c7726aafa5d03f52608394a8b3d9acd8d5ea9d2b4996bf65705b757fd705de9','/user/dave/mylab-2/oauth_callback','["access:servers!server=dave/mylab-2"]');
INSERT INTO "oauth_clients" VALUES(5,'service-visited','JupyterHub service visited','sha512:16384:883d85042d97a390:5ac5ef5f616345dcee69ef7019bcef2c26b6d4edb5490c1804baaab6a7bc3d680ff37c44107eec8faf4766bbe27c8a001a1c5d5e51b46e0987100d413949e2d6','http://127.0.0.1:9/back','["access:services!service=visited"]');
CREATE TABLE oauth_codes (
	id INTEGER NOT NULL, 
	client_id VARCHAR(255), 
	code VARCHAR(36), 
	expires_at INTEGER, 
	redirect_uri VARCHAR(1023), 
	session_id VARCHAR(255), 
	user_id INTEGER, 
	scopes TEXT, 
	CONSTRAINT pk_oauth_codes PRIMARY KEY (id), 
	CONSTRAINT fk_oauth_codes_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE, 
	CONSTRAINT fk_oauth_codes_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE roles (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	description VARCHAR(1023), 
	scopes TEXT, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_roles PRIMARY KEY (id), 
	CONSTRAINT uq_roles_name UNIQUE (name)
);
INSERT INTO "roles" VALUES(1,'user','Standard user privileges','["self"]',0);
INSERT INTO "roles" VALUES(2,'admin','Elevated privileges (can do anything)','["admin-ui", "admin:users", "admin:servers", "admin:services", "tokens", "admin:groups", "list:services", "read:services", "read:hub", "proxy", "shutdown", "access:services", "access:servers", "read:roles", "read:metrics", "shares"]',0);
INSERT INTO "roles" VALUES(3,'server','Post activity only','["users:activity!user", "access:servers!server"]',0);
INSERT INTO "roles" VALUES(4,'token','Token with same permissions as its owner','["inherit"]',0);
INSERT INTO "roles" VALUES(5,'keeping',NULL,'["list:users", "servers"]',0);
INSERT INTO "roles" VALUES(6,'grading','Sees the students','["list:users!group=students", "read:users!group=students"]',0);
INSERT INTO "roles" VALUES(7,'looking',NULL,'["read:users", "access:services!service=announce"]',0);
CREATE TABLE servers (
	id INTEGER NOT NULL, 
	proto VARCHAR(15), 
	ip VARCHAR(255), 
	port INTEGER, 
	base_url VARCHAR(255), 
	cookie_name VARCHAR(255), 
	CONSTRAINT pk_servers PRIMARY KEY (id)
);
INSERT INTO "servers" VALUES(3,'http','127.0.0.1',38977,'/services/announce/','service-announce');
INSERT INTO "servers" VALUES(4,'http','127.0.0.1',58921,'/user/carol/','cookie');
INSERT INTO "servers" VALUES(5,'http','127.0.0.1',54983,'/user/dave/mylab-2/','cookie');
CREATE TABLE service_role_map (
	service_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_service_role_map PRIMARY KEY (service_id, role_id), 
	CONSTRAINT fk_service_role_map_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT fk_service_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "service_role_map" VALUES(3,5,0);
CREATE TABLE services (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	url VARCHAR(2047), 
	oauth_client_allowed_scopes TEXT, 
	info TEXT, 
	display BOOLEAN, 
	oauth_no_confirm BOOLEAN, 
	command TEXT, 
	cwd VARCHAR(4095), 
	environment TEXT, 
	user VARCHAR(255), 
	from_config BOOLEAN, 
	_server_id INTEGER, 
	pid INTEGER, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_services PRIMARY KEY (id), 
	CONSTRAINT uq_services_name UNIQUE (name), 
	CONSTRAINT fk_services__server_id_servers FOREIGN KEY(_server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_services_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "services" VALUES(1,'announce',0,'http://127.0.0.1:38977',NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,1,3,NULL,'service-announce');
INSERT INTO "services" VALUES(2,'rotated',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,NULL,NULL,NULL);
INSERT INTO "services" VALUES(3,'keeper',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,NULL,NULL,NULL);
INSERT INTO "services" VALUES(4,'added',0,NULL,NULL,'{"by": "hand"}',NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "services" VALUES(5,'visited',0,NULL,NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,0,NULL,NULL,'service-visited');
CREATE TABLE share_codes (
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	exchange_count INTEGER, 
	last_exchanged_at DATETIME, 
	id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	scopes TEXT, 
	expires_at DATETIME, 
	owner_id INTEGER, 
	spawner_id INTEGER, 
	CONSTRAINT pk_share_codes PRIMARY KEY (id), 
	CONSTRAINT uq_share_codes_hashed UNIQUE (hashed), 
	CONSTRAINT fk_share_codes_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_share_codes_spawner_id_spawners FOREIGN KEY(spawner_id) REFERENCES spawners (id) ON DELETE CASCADE
);
INSERT INTO "share_codes" VALUES('sha512:1:c9e61a0278660164:c68a1ea00e9d1c5a46678c16e2e9c570de7c73810677ac941221a30477deac75336d537bd114d00b8191dbda62b367aed4daaecbe25b8ec93e655e86bcc88df8','LeMm',0,NULL,1,'2026-12-01 03:52:34.939026','["access:servers!server=dave/mylab-2"]','2027-12-01 03:52:34.937618',8,10);
CREATE TABLE shares (
	user_id INTEGER, 
	group_id INTEGER, 
	id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	scopes TEXT, 
	expires_at DATETIME, 
	owner_id INTEGER, 
	spawner_id INTEGER, 
	CONSTRAINT pk_shares PRIMARY KEY (id), 
	CONSTRAINT fk_shares_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_spawner_id_spawners FOREIGN KEY(spawner_id) REFERENCES spawners (id) ON DELETE CASCADE
);
INSERT INTO "shares" VALUES(3,NULL,1,'2026-12-01 03:52:34.854167','["access:servers!server=dave/mylab-2"]',NULL,8,10);
INSERT INTO "shares" VALUES(NULL,1,2,'2026-12-01 03:52:34.873249','["access:servers!server=dave/mylab-2"]',NULL,8,10);
INSERT INTO "shares" VALUES(5,NULL,3,'2026-12-01 03:52:34.903038','["access:servers!server=dave/mylab-2", "read:servers!server=dave/mylab-2"]',NULL,8,10);
CREATE TABLE spawners (
	id INTEGER NOT NULL, 
	user_id INTEGER, 
	server_id INTEGER, 
	state TEXT, 
	name VARCHAR(255), 
	started DATETIME, 
	last_activity DATETIME, 
	user_options TEXT, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_spawners PRIMARY KEY (id), 
	CONSTRAINT fk_spawners_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_spawners_server_id_servers FOREIGN KEY(server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_spawners_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "spawners" VALUES(1,1,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(2,6,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(3,7,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(4,3,4,'{"pid": 21893}','','2026-12-01 03:52:33.508529','2026-12-01 03:52:33.508529','{"profile": "small"}','jupyterhub-user-carol');
INSERT INTO "spawners" VALUES(5,8,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(6,2,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(7,5,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(8,9,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(9,10,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(10,8,5,'{"pid": 21947}','mylab-2','2026-12-01 03:52:33.882775','2026-12-01 03:52:33.882775','{"image": "gpu", "n": [1]}','jupyterhub-user-dave-mylab-2');
INSERT INTO "spawners" VALUES(11,8,NULL,'{}','rest',NULL,'2026-12-01 03:52:34.368106','{"image": "cpu"}',NULL);
INSERT INTO "spawners" VALUES(12,4,NULL,NULL,'',NULL,NULL,NULL,NULL);
CREATE TABLE user_group_map (
	user_id INTEGER NOT NULL, 
	group_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_group_map PRIMARY KEY (user_id, group_id), 
	CONSTRAINT fk_user_group_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_group_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE
);
INSERT INTO "user_group_map" VALUES(2,1);
INSERT INTO "user_group_map" VALUES(3,1);
INSERT INTO "user_group_map" VALUES(8,2);
INSERT INTO "user_group_map" VALUES(10,2);
CREATE TABLE user_role_map (
	user_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	managed_by_auth BOOLEAN NOT NULL, 
	CONSTRAINT pk_user_role_map PRIMARY KEY (user_id, role_id), 
	CONSTRAINT fk_user_role_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "user_role_map" VALUES(1,2,0);
INSERT INTO "user_role_map" VALUES(1,1,0);
INSERT INTO "user_role_map" VALUES(2,1,0);
INSERT INTO "user_role_map" VALUES(3,1,0);
INSERT INTO "user_role_map" VALUES(5,1,0);
INSERT INTO "user_role_map" VALUES(5,6,0);
INSERT INTO "user_role_map" VALUES(6,1,0);
INSERT INTO "user_role_map" VALUES(7,1,0);
INSERT INTO "user_role_map" VALUES(8,1,0);
INSERT INTO "user_role_map" VALUES(9,1,0);
INSERT INTO "user_role_map" VALUES(10,1,0);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	created DATETIME, 
	last_activity DATETIME, 
	cookie_id VARCHAR(255) NOT NULL, 
	state TEXT, 
	encrypted_auth_state BLOB, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name), 
	CONSTRAINT uq_users_cookie_id UNIQUE (cookie_id)
);
INSERT INTO "users" VALUES(1,'ada',1,'2026-12-01 03:52:22.013782','2026-12-01 03:52:24.438561','77c7c03b42fa4d85a625046f5e150088',NULL,X'6741414141414272446B534169616C39796A6654525A5568324F38336F455A61623769434D634F6B4F6465385556494F307447723157655269314B64786B54364258733657314A5969465F474632554972475058537866387153647344754B75634B485A3938772D6B6A62444E4C51455062735A5443773D');
INSERT INTO "users" VALUES(2,'erin',0,'2026-12-01 03:52:22.046059','2026-12-01 03:52:37.591813','6ddc489daea84b969b0b5517abd6b59a',NULL,NULL);
INSERT INTO "users" VALUES(3,'carol',0,'2026-12-01 03:52:22.056216','2026-12-01 03:52:33.508529','073de03722684840b8b5e02b1c8561a3','{}',X'6741414141414272446B5341696672636A5569576235427832396B4F34743261617A6C6E714755746D424263515655554B5A7645595941545172384354594D51484D764845756356335243304E4A6F37345A44516E6F31477A6A78774C584743764F6F6237724C492D745F5376314863726963573061593D');
INSERT INTO "users" VALUES(4,'grace',0,'2026-12-01 03:52:22.175612','2026-12-01 03:52:38.244717','f1da6ef08a4544c2a802152e24658d10',NULL,NULL);
INSERT INTO "users" VALUES(5,'heidi',0,'2026-12-01 03:52:22.277678','2026-12-01 03:52:37.529766','84b0a47788994f03a16f10ddb280552a',NULL,NULL);
INSERT INTO "users" VALUES(6,'nat',0,'2026-12-01 03:52:24.773311','2026-12-01 03:52:24.819178','0238b30b867b40f7a0356dc509a595d2',NULL,NULL);
INSERT INTO "users" VALUES(7,'bob',0,'2026-12-01 03:52:32.768085','2026-12-01 03:52:33.089234','118b445720e340a4a0c0ad050f5eebf0',NULL,X'6741414141414272446B53424E5635555F4D567575574A715343345A373764672D3451334B446858755041436D68485A6932707A35776D367635613045416D4974673352646B47436379413564516E3557354A633774746F6F735F774B7051755841345852315A7676726A337574346D38364A726D4C6B3D');
INSERT INTO "users" VALUES(8,'dave',0,'2026-12-01 03:52:32.793707','2026-12-01 03:52:34.368106','77e767d881484ef6bf905811a885c87b','{}',X'6741414141414272446B534249583132626D48493353737739557156717457466B5239667131362D3558784965696A4F59666F634739316A416D35625A34374273453942432D544F74594D34787269716D6A5A423842554B76477237537733346F417259416E59775259503639546675547638545345383D');
INSERT INTO "users" VALUES(9,'mallory',0,'2026-12-01 03:52:32.818113','2026-12-01 03:52:37.221905','ae6a72511e704a8e97f0813c6f11aded',NULL,NULL);
INSERT INTO "users" VALUES(10,'zoë',0,'2026-12-01 03:52:32.830242',NULL,'d36059ceb2194c54ad6ca829e1231beb',NULL,NULL);
CREATE TABLE users_info (
	id INTEGER NOT NULL, 
	username VARCHAR(128) NOT NULL, 
	password BLOB NOT NULL, 
	is_authorized BOOLEAN, 
	login_email_sent BOOLEAN, 
	email VARCHAR(128), 
	has_2fa BOOLEAN, 
	otp_secret VARCHAR(16), 
	CONSTRAINT pk_users_info PRIMARY KEY (id)
);
INSERT INTO "users_info" VALUES(1,'ada',X'24326224313224306567786C4F4D3679624B7A55726A75685376726A2E48556352507A4B33424F7379714A66383945364A444A45304C646C70616543',1,0,NULL,0,'RRXACRJTRPAXPNIY');
INSERT INTO "users_info" VALUES(2,'nat',X'243262243132245639703330725A684B6349356E32415130387A55502E6D3251504A504B6E6A4B33526E7061496835474F716C50525845525856454B',1,0,NULL,0,'5SH5R4JE3FJ4UAU6');
INSERT INTO "users_info" VALUES(3,'waits',X'2432622431322450413843572E2E5A72346134687458635A755A3445754A576A617863446A7578796A4C314551586341446A4A3547754C594377554F',0,0,NULL,0,'P2MQZXNG6V27TWXS');
CREATE INDEX ix_share_codes_prefix ON share_codes (prefix);
CREATE INDEX ix_api_tokens_prefix ON api_tokens (prefix);
COMMIT;
